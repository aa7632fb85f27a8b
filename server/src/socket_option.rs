//! Socket options as a configuration names them: by the numbers of `setsockopt(2)`.
//!
//! Arbitrary options would need `unsafe`, which this workspace forbids. So the numbers are looked up in a table of options
//! that have a safe setter, and any other number is an error that says so.

use std::{io, os::fd::AsFd, time::Duration};

use rustix::net::sockopt;
use socket2::{SockRef, Socket};
use underpass_core::config::{self, SocketState};

/// One option and its value, known to be settable.
#[derive(Clone)]
pub struct SocketOption {
    known: &'static Known,
    value: Value,
    state: SocketState,
}

/// What an option is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Number(i64),
    Bytes(Vec<u8>),
}

impl SocketOption {
    /// Looks the numbers of a configured option up.
    ///
    /// # Errors
    /// What is wrong with them, and which options there are.
    pub fn new(config: &config::SocketOption) -> Result<Self, String> {
        let (level, name) = (config.level, config.name);
        let same = |known: &&Known| (i64::from(known.level), i64::from(known.name)) == (level, name);
        let Some(known) = KNOWN.iter().find(same) else {
            let all = KNOWN.iter().map(|known| known.word).collect::<Vec<_>>().join(", ");
            return Err(format!(
                "socket option level {level} name {name} is not implemented by Underpass; it can set {all}"
            ));
        };
        let value = match (config.int_value, &config.buf_value) {
            (Some(number), None) => Value::Number(number),
            (None, Some(bytes)) => Value::Bytes(bytes.to_vec()),
            _ => return Err(format!("{}: exactly one of int_value and buf_value has to be set", known.word)),
        };
        known.set.check(&value).map_err(|wrong| format!("{}: {wrong}", known.word))?;
        Ok(Self { known, value, state: config.state })
    }

    /// Looks up all of a list; the error says which one is wrong.
    ///
    /// # Errors
    /// As [`new`](Self::new), with the place in the list.
    pub fn all(options: &[config::SocketOption]) -> Result<Vec<Self>, (usize, String)> {
        let each = |(at, option)| Self::new(option).map_err(|wrong| (at, wrong));
        options.iter().enumerate().map(each).collect()
    }

    /// When it is set.
    pub fn state(&self) -> SocketState {
        self.state
    }

    /// Sets it.
    ///
    /// # Errors
    /// What the system says.
    pub fn apply(&self, socket: &impl AsFd) -> io::Result<()> {
        self.known.set.apply(&SockRef::from(socket), &self.value)
    }

    /// The option's name in C, `SO_KEEPALIVE`.
    pub fn word(&self) -> &'static str {
        self.known.word
    }
}

impl PartialEq for SocketOption {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.known, other.known) && self.value == other.value && self.state == other.state
    }
}

impl std::fmt::Debug for SocketOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {:?} at {:?}", self.known.word, self.value, self.state)
    }
}

struct Known {
    level: libc::c_int,
    name: libc::c_int,
    word: &'static str,
    set: Setter,
}

enum Setter {
    Switch(fn(&Socket, bool) -> io::Result<()>),
    Number(fn(&Socket, u32) -> io::Result<()>),
    Seconds(fn(&Socket, Duration) -> io::Result<()>),
    Bytes(fn(&Socket, &[u8]) -> io::Result<()>),
}

impl Setter {
    fn check(&self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Self::Bytes(_), Value::Bytes(_)) => Ok(()),
            (Self::Bytes(_), Value::Number(_)) => Err("wants buf_value".to_owned()),
            (_, Value::Bytes(_)) => Err("wants int_value".to_owned()),
            (_, Value::Number(number)) => {
                u32::try_from(*number).map(drop).map_err(|_| format!("int_value {number} is out of range"))
            }
        }
    }

    fn apply(&self, socket: &Socket, value: &Value) -> io::Result<()> {
        match (self, value) {
            (Self::Bytes(set), Value::Bytes(bytes)) => set(socket, bytes),
            (Self::Bytes(_), _) | (_, Value::Bytes(_)) => Err(io::ErrorKind::InvalidInput.into()),
            (Self::Switch(set), Value::Number(number)) => set(socket, *number != 0),
            (Self::Number(set), Value::Number(number)) => set(socket, to_u32(*number)?),
            (Self::Seconds(set), Value::Number(number)) => {
                set(socket, Duration::from_secs(to_u32(*number)?.into()))
            }
        }
    }
}

fn to_u32(number: i64) -> io::Result<u32> {
    u32::try_from(number).map_err(|_| io::ErrorKind::InvalidInput.into())
}

macro_rules! known {
    ($($level:ident $name:ident $kind:ident($set:expr);)+) => {
        &[$(Known { level: libc::$level, name: libc::$name, word: stringify!($name), set: Setter::$kind($set) },)+]
    };
}

/// The options that have a safe setter.
static KNOWN: &[Known] = known! {
    SOL_SOCKET SO_REUSEADDR Switch(Socket::set_reuse_address);
    SOL_SOCKET SO_REUSEPORT Switch(Socket::set_reuse_port);
    SOL_SOCKET SO_KEEPALIVE Switch(Socket::set_keepalive);
    SOL_SOCKET SO_OOBINLINE Switch(Socket::set_out_of_band_inline);
    SOL_SOCKET SO_RCVBUF Number(|socket, size| socket.set_recv_buffer_size(size as usize));
    SOL_SOCKET SO_SNDBUF Number(|socket, size| socket.set_send_buffer_size(size as usize));
    SOL_SOCKET SO_RCVBUFFORCE Number(|socket, size| Ok(sockopt::set_socket_recv_buffer_size_force(socket, size as usize)?));
    SOL_SOCKET SO_SNDBUFFORCE Number(|socket, size| Ok(sockopt::set_socket_send_buffer_size_force(socket, size as usize)?));
    SOL_SOCKET SO_PRIORITY Number(Socket::set_priority);
    SOL_SOCKET SO_MARK Number(Socket::set_mark);
    SOL_SOCKET SO_INCOMING_CPU Number(|socket, cpu| socket.set_cpu_affinity(cpu as usize));
    SOL_SOCKET SO_BUSY_POLL Number(Socket::set_busy_poll);
    SOL_SOCKET SO_BINDTODEVICE Bytes(|socket, device| socket.bind_device(Some(device)));
    IPPROTO_TCP TCP_NODELAY Switch(Socket::set_tcp_nodelay);
    IPPROTO_TCP TCP_MAXSEG Number(Socket::set_tcp_mss);
    IPPROTO_TCP TCP_CORK Switch(Socket::set_tcp_cork);
    IPPROTO_TCP TCP_QUICKACK Switch(Socket::set_tcp_quickack);
    IPPROTO_TCP TCP_KEEPIDLE Seconds(|socket, time| Ok(sockopt::set_tcp_keepidle(socket, time)?));
    IPPROTO_TCP TCP_KEEPINTVL Seconds(|socket, time| Ok(sockopt::set_tcp_keepintvl(socket, time)?));
    IPPROTO_TCP TCP_KEEPCNT Number(|socket, count| Ok(sockopt::set_tcp_keepcnt(socket, count)?));
    IPPROTO_TCP TCP_USER_TIMEOUT Number(|socket, millis| Ok(sockopt::set_tcp_user_timeout(socket, millis)?));
    IPPROTO_TCP TCP_NOTSENT_LOWAT Number(Socket::set_tcp_notsent_lowat);
    IPPROTO_TCP TCP_THIN_LINEAR_TIMEOUTS Switch(Socket::set_tcp_thin_linear_timeouts);
    IPPROTO_TCP TCP_CONGESTION Bytes(Socket::set_tcp_congestion);
    IPPROTO_IP IP_TOS Number(Socket::set_tos_v4);
    IPPROTO_IP IP_TTL Number(Socket::set_ttl_v4);
    IPPROTO_IP IP_FREEBIND Switch(Socket::set_freebind_v4);
    IPPROTO_IP IP_TRANSPARENT Switch(Socket::set_ip_transparent_v4);
    IPPROTO_IPV6 IPV6_V6ONLY Switch(Socket::set_only_v6);
    IPPROTO_IPV6 IPV6_TCLASS Number(Socket::set_tclass_v6);
    IPPROTO_IPV6 IPV6_UNICAST_HOPS Number(Socket::set_unicast_hops_v6);
    IPPROTO_IPV6 IPV6_FREEBIND Switch(Socket::set_freebind_v6);
    IPPROTO_IPV6 IPV6_TRANSPARENT Switch(Socket::set_ip_transparent_v6);
};

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn option(level: i32, name: i32, value: Value) -> Result<SocketOption, String> {
        let mut option =
            config::SocketOption { level: level.into(), name: name.into(), ..Default::default() };
        match value {
            Value::Number(number) => option.int_value = Some(number),
            Value::Bytes(bytes) => option.buf_value = Some(config::ByteString(bytes)),
        }
        SocketOption::new(&option)
    }

    #[test]
    fn numbers_of_setsockopt_reach_the_socket() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let set = |level, name, value| option(level, name, value).unwrap().apply(&socket).unwrap();
        set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, Value::Number(1));
        set(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, Value::Number(77));
        set(libc::IPPROTO_TCP, libc::TCP_CONGESTION, Value::Bytes(b"reno".to_vec()));
        let seen = SockRef::from(&socket);
        assert!(seen.keepalive().unwrap());
        assert_eq!(seen.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
        assert!(seen.tcp_congestion().unwrap().starts_with(b"reno"));
    }

    #[test]
    fn numbers_without_a_safe_setter_are_refused_with_those_that_have_one() {
        let error = option(libc::SOL_SOCKET, 9999, Value::Number(1)).unwrap_err();
        let start =
            "socket option level 1 name 9999 is not implemented by Underpass; it can set SO_REUSEADDR, ";
        assert!(error.starts_with(start), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused() {
        let refused = |level, name, value| option(level, name, value).unwrap_err();
        let bytes = Value::Bytes(vec![1]);
        insta::assert_snapshot!(refused(libc::SOL_SOCKET, libc::SO_KEEPALIVE, bytes), @"SO_KEEPALIVE: wants int_value");
        let number = Value::Number(1);
        insta::assert_snapshot!(refused(libc::SOL_SOCKET, libc::SO_BINDTODEVICE, number), @"SO_BINDTODEVICE: wants buf_value");
        let negative = Value::Number(-1);
        insta::assert_snapshot!(refused(libc::IPPROTO_IP, libc::IP_TOS, negative), @"IP_TOS: int_value -1 is out of range");
    }
}
