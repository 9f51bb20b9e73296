//! The last thing a watchdog does whose agent died: it tells the cluster that everything has ended, so
//! that the attempts are placed again at once and not after a lease.
//!
//! Written over a plain socket: an HTTP client would be most of this small process.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::wire::Registration;

/// How long it goes on trying: an election takes less, and after about a lease the cluster knows anyway.
const PATIENCE: Duration = Duration::from_secs(10);
/// For connecting, and for each read and write: a dead server must not use up the patience.
const SERVER_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two rounds through the servers.
const PAUSE: Duration = Duration::from_millis(50);
/// Of the answer only the first line matters.
const ANSWER_BYTES_MAX: usize = 256;

/// Tells one of the servers, each in turn. Whether one has heard it.
pub(crate) fn say(registration: &Registration) -> bool {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        for server in &registration.servers {
            if matches!(tell(server, registration), Ok(status) if is_final(status)) {
                return true;
            }
        }
        std::thread::sleep(PAUSE);
    }
    false
}

/// A success, or an answer that asking again can't change: the registration is over.
fn is_final(status: u16) -> bool {
    matches!(status, 200..=299 | 404 | 409 | 422)
}

fn tell(server: &str, registration: &Registration) -> io::Result<u16> {
    let host = host_of(server);
    let address = host.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, SERVER_TIMEOUT)?;
    stream.set_read_timeout(Some(SERVER_TIMEOUT))?;
    stream.set_write_timeout(Some(SERVER_TIMEOUT))?;
    stream.write_all(request(host, registration).as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; ANSWER_BYTES_MAX];
    while status_of(&answer).is_none() && answer.len() < ANSWER_BYTES_MAX {
        match stream.read(&mut piece)? {
            0 => break,
            n => answer.extend_from_slice(&piece[..n]),
        }
    }
    status_of(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `host:port` of `http://host:port/`.
fn host_of(server: &str) -> &str {
    server.strip_prefix("http://").unwrap_or(server).trim_end_matches('/')
}

fn request(host: &str, registration: &Registration) -> String {
    let Registration { epoch, name, token, .. } = registration;
    let body = format!("{{\"epoch\":{epoch}}}");
    let authorization = token.as_ref().map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    format!(
        "POST /v1/workers/{name}/ended HTTP/1.1\r\nHost: {host}\r\n{authorization}Content-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.")?.get(1..)?.strip_prefix(b" ")?.get(..3)?;
    std::str::from_utf8(line).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_complete() {
        let registration = Registration {
            epoch: quorate_types::Epoch(7),
            name: quorate_types::Name::new("w1").unwrap(),
            servers: vec![],
            token: Some("secret".into()),
        };
        let request = request(host_of("http://[::1]:7070/"), &registration);
        assert!(request.starts_with("POST /v1/workers/w1/ended HTTP/1.1\r\nHost: [::1]:7070\r\n"));
        assert!(request.contains("\r\nAuthorization: Bearer secret\r\n"));
        assert!(request.ends_with("\r\nContent-Length: 11\r\nConnection: close\r\n\r\n{\"epoch\":7}"));
    }

    #[test]
    fn the_status_is_read_as_soon_as_it_is_there() {
        for (answer, status) in [
            ("HTTP/1.1 204 No Content", Some(204)),
            ("HTTP/1.0 503", Some(503)),
            ("HTTP/1.1 20", None),
            ("SSH-2.0", None),
            ("", None),
        ] {
            assert_eq!(status_of(answer.as_bytes()), status, "{answer}");
        }
    }
}
