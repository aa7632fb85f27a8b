//! Look-ups against a name server of our own on loopback.

use hickory_resolver::proto::{
    op::{Message, Metadata, ResponseCode},
    rr::rdata,
};
use tokio::task::JoinHandle;

use super::*;

/// Answers `up.test` with two addresses, `empty.test` with none, `fail.test` with a failure, others with NXDOMAIN.
async fn name_server() -> (SocketAddr, JoinHandle<()>) {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let serve = async move {
        let mut buffer = [0; 512];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            let query = Message::from_vec(&buffer[..length]).unwrap();
            socket.send_to(&answer(&query).to_vec().unwrap(), client).await.unwrap();
        }
    };
    (address, tokio::spawn(serve))
}

fn answer(query: &Message) -> Message {
    let question = query.queries[0].clone();
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    let metadata: &mut Metadata = &mut response.metadata;
    metadata.recursion_available = true;
    metadata.response_code = match question.name().to_ascii().as_str() {
        "up.test." | "empty.test." => ResponseCode::NoError,
        "fail.test." => ResponseCode::ServFail,
        _ => ResponseCode::NXDomain,
    };
    if question.name().to_ascii() == "up.test." && question.query_type() == RecordType::A {
        for last in [1, 2] {
            let address = RData::A(rdata::A::new(192, 0, 2, last));
            response.add_answer(Record::from_rdata(question.name().clone(), 30, address));
        }
    }
    response.add_query(question);
    response
}

fn lookup(server: SocketAddr) -> HickoryLookup {
    HickoryLookup::new(&DnsOptions { servers: vec![server], tcp: false, no_search: true }).unwrap()
}

#[tokio::test]
async fn answers_of_a_name_server_become_addresses_with_their_time_to_live() {
    let (server, _task) = name_server().await;
    let lookup = lookup(server);
    let found = lookup.lookup("up.test", IpVersion::V4).await.unwrap();
    let expected: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
    assert_eq!(found, Resolved { addresses: expected, ttl: Some(Duration::from_secs(30)) });
    assert_eq!(lookup.lookup("up.test", IpVersion::V6).await.unwrap(), Resolved::default());
    assert_eq!(lookup.lookup("empty.test", IpVersion::V4).await.unwrap(), Resolved::default());
    assert_eq!(lookup.lookup("nobody.test", IpVersion::V4).await.unwrap(), Resolved::default());
}

#[tokio::test]
async fn a_server_that_fails_is_an_error() {
    let (server, _task) = name_server().await;
    assert!(lookup(server).lookup("fail.test", IpVersion::V4).await.is_err());
}

#[test]
fn options_replace_what_the_system_says() {
    let options =
        DnsOptions { servers: vec!["192.0.2.53:5353".parse().unwrap()], tcp: true, no_search: true };
    let config = config(local_server(), &options);
    let [server] = config.name_servers() else { panic!("{config:?}") };
    assert_eq!(server.ip, "192.0.2.53".parse::<IpAddr>().unwrap());
    assert_eq!(server.connections.iter().map(|connection| connection.port).collect::<Vec<_>>(), [5353]);
}
