//! Tasks that fetch from the web.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ureq::Agent;
use watertight::RemoteError;

/// How long a fetch may take in all, from the look-up of the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes that are fetched.
const LARGEST: u64 = 64 << 20;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Page {
    /// The address that was asked for.
    url: String,
    /// The status, after redirections.
    status: u16,
    /// The length of the body.
    bytes: u64,
}

/// Fetches an address over HTTP or HTTPS, and says with which status the server answered and with how many
/// bytes.
///
/// An answer is a result, whatever its status. No answer within 30 seconds, or one of more than 64 MiB, is an
/// error.
#[watertight::task]
fn fetch(url: String) -> Result<Page, RemoteError> {
    match answer(&url, LARGEST) {
        Ok((status, bytes)) => Ok(Page { url, status, bytes }),
        Err(error) => Err(RemoteError::new(format_args!("cannot fetch {url}: {error}"))),
    }
}

/// Status and length of an answer.
fn answer(url: &str, largest: u64) -> Result<(u16, u64), ureq::Error> {
    let config = Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build();
    let response = Agent::new_with_config(config).get(url).call()?;
    let status = response.status().as_u16();
    // Counted as it comes, and not kept.
    let mut body = response.into_body().into_with_config().limit(largest).reader();
    Ok((status, io::copy(&mut body, &mut io::sink())?))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A server that gives one answer to each of the next connections, and its address.
    fn serve(answers: &[&str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/page", listener.local_addr().unwrap());
        let answers: Vec<String> = answers.iter().map(|answer| answer.to_string()).collect();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                assert_eq!(request[0], "GET /page HTTP/1.1");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        url
    }

    const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

    #[test]
    fn an_answer_is_told_by_status_and_length() {
        let url = serve(&[HELLO]);
        assert_eq!(fetch(url.clone()), Ok(Page { url, status: 200, bytes: 5 }));
    }

    #[test]
    fn an_unhappy_answer_is_an_answer() {
        let answers = [
            "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnone",
            "HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ];
        let url = serve(&answers);
        let pages = [fetch(url.clone()).unwrap(), fetch(url).unwrap()];
        assert_eq!(pages.map(|page| (page.status, page.bytes)), [(404, 4), (500, 3)]);
    }

    #[test]
    fn redirections_are_followed() {
        let moved = "HTTP/1.1 302 Found\r\nLocation: /page\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let page = fetch(serve(&[moved, HELLO])).unwrap();
        assert_eq!((page.status, page.bytes), (200, 5));
    }

    #[test]
    fn a_body_that_is_too_large_or_cut_short_is_an_error() {
        assert_eq!(answer(&serve(&[HELLO]), 6).unwrap(), (200, 5));
        assert!(answer(&serve(&[HELLO]), 4).is_err());
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nhello";
        assert!(fetch(serve(&[cut])).is_err());
    }

    #[test]
    fn an_encrypted_connection_is_really_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let mut first = [0];
            listener.accept().unwrap().0.read_exact(&mut first).unwrap();
            first
        });
        assert!(fetch(url).is_err());
        // How a TLS handshake begins.
        assert_eq!(server.join().unwrap(), [0x16]);
    }

    #[test]
    fn no_answer_is_an_error_that_names_the_address() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for url in [format!("http://{nobody}/"), "file:///etc/hostname".to_owned(), "no address".to_owned()] {
            let error = fetch(url.clone()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot fetch {url}: ")), "{error}");
        }
    }
}
