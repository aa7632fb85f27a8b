use std::net::TcpListener;

use super::*;

fn tcp(address: &str) -> ListenAddress {
    ListenAddress {
        address: Address::Socket(address.parse().unwrap()),
        ipv4_compat: false,
        pipe_mode: 0,
        options: Vec::new(),
    }
}

fn pipe(path: &str, mode: u32) -> ListenAddress {
    ListenAddress { address: Address::Pipe(Path::new(path).into()), pipe_mode: mode, ..tcp("0.0.0.0:0") }
}

fn settings() -> SocketSettings {
    SocketSettings { reuse_port: true, transparent: false, freebind: false, mptcp: false, backlog: 128 }
}

#[test]
fn every_worker_has_a_socket_of_its_own_on_the_port_that_the_kernel_chose() {
    let socket = ListenSocket::bind(&tcp("127.0.0.1:0"), &settings(), 3).unwrap();
    socket.listen().unwrap();
    let ports: Vec<_> =
        (0..3).map(|at| socket.for_worker(at).local_addr().unwrap().as_socket().unwrap().port()).collect();
    assert_eq!(ports, vec![socket.address().port().unwrap(); 3]);
    assert!(!Arc::ptr_eq(socket.for_worker(0), socket.for_worker(1)));
}

#[test]
fn what_is_accepted_sends_without_delay() {
    for mptcp in [false, true] {
        let settings = SocketSettings { mptcp, ..settings() };
        // A kernel may be built without multipath TCP.
        let Ok(socket) = ListenSocket::bind(&tcp("127.0.0.1:0"), &settings, 1) else { continue };
        socket.listen().unwrap();
        let address = socket.address().socket().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        socket.for_worker(0).set_nonblocking(false).unwrap();
        let (accepted, _) = socket.for_worker(0).accept().unwrap();
        assert!(accepted.tcp_nodelay().unwrap(), "mptcp: {mptcp}");
    }
}

#[test]
fn without_reuse_port_the_workers_share_one_socket() {
    let settings = SocketSettings { reuse_port: false, ..settings() };
    let socket = ListenSocket::bind(&tcp("127.0.0.1:0"), &settings, 2).unwrap();
    assert!(Arc::ptr_eq(socket.for_worker(0), socket.for_worker(1)));
}

#[test]
fn an_address_in_use_is_said_in_envoys_words() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = ListenSocket::bind(&tcp(&address.to_string()), &settings(), 1).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot bind '{address}': Address already in use"));
}

#[test]
fn a_pipe_takes_the_place_of_a_stale_socket_file_and_gets_its_mode() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.sock");
    let at = pipe(path.to_str().unwrap(), 0o640);
    drop(ListenSocket::bind(&at, &settings(), 2).unwrap());
    assert!(path.exists(), "nobody removes it");
    let socket = ListenSocket::bind(&at, &settings(), 2).unwrap();
    socket.listen().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    std::os::unix::net::UnixStream::connect(&path).unwrap();
}

#[test]
fn a_pipe_does_not_take_the_place_of_another_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    fs::write(&path, "data").unwrap();
    let error = ListenSocket::bind(&pipe(path.to_str().unwrap(), 0), &settings(), 1).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot bind '{}': Address already in use", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap(), "data");
}

#[test]
fn a_pipe_may_have_an_abstract_name() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("underpass-test-{}", std::process::id());
    let socket = ListenSocket::bind(&pipe(&format!("@{name}"), 0), &settings(), 1).unwrap();
    socket.listen().unwrap();
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
}

#[test]
fn an_ipv6_socket_takes_ipv4_only_where_it_is_asked_to() {
    let strict = ListenSocket::bind(&tcp("[::]:0"), &settings(), 1).unwrap();
    strict.listen().unwrap();
    let port = strict.address().port().unwrap();
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap_err();
    let both =
        ListenSocket::bind(&ListenAddress { ipv4_compat: true, ..tcp("[::]:0") }, &settings(), 1).unwrap();
    both.listen().unwrap();
    let client = std::net::TcpStream::connect(("127.0.0.1", both.address().port().unwrap())).unwrap();
    let (_, peer) = both.for_worker(0).accept().unwrap();
    assert_eq!(canonical(peer.as_socket().unwrap()), client.local_addr().unwrap());
}

#[test]
fn an_address_that_this_host_does_not_have_yet_may_be_bound() {
    let elsewhere = tcp("192.0.2.1:0");
    let error = ListenSocket::bind(&elsewhere, &settings(), 1).unwrap_err();
    assert_eq!(error.to_string(), "cannot bind '192.0.2.1:0': Cannot assign requested address");
    let freebind = SocketSettings { freebind: true, ..settings() };
    ListenSocket::bind(&elsewhere, &freebind, 1).unwrap().listen().unwrap();
}

#[test]
fn options_are_set_at_their_time() {
    let option = |name, state| {
        let config = underpass_core::config::SocketOption {
            level: libc::SOL_SOCKET.into(),
            name: i64::from(name),
            int_value: Some(1),
            state,
            ..Default::default()
        };
        SocketOption::new(&config).unwrap()
    };
    let options = vec![
        option(libc::SO_KEEPALIVE, SocketState::Prebind),
        option(libc::SO_OOBINLINE, SocketState::Listening),
    ];
    let at = ListenAddress { options, ..tcp("127.0.0.1:0") };
    let socket = ListenSocket::bind(&at, &settings(), 1).unwrap();
    let first = socket.for_worker(0);
    assert_eq!((first.keepalive().unwrap(), first.out_of_band_inline().unwrap()), (true, false));
    socket.listen().unwrap();
    assert!(first.out_of_band_inline().unwrap());
}
