//! Fetches pages from a web server in worker processes, and counts their words.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use watertight::{Pool, RemoteError};

/// A task may use `?` on any error.
fn words_of(url: String) -> Result<usize, RemoteError> {
    let body = ureq::get(&url).call()?.into_body().read_to_string()?;
    Ok(body.split_whitespace().count())
}

fn main() -> watertight::Result<()> {
    watertight::init();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on this machine");
    let address = listener.local_addr().expect("the listener has one");
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));

    let pool = Pool::new(4)?;
    let urls = (1..=8).map(|page| format!("http://{address}/{page}"));
    for (page, words) in (1..).zip(pool.map(words_of, urls)?) {
        match words {
            Ok(words) => println!("page {page}: {words} words"),
            Err(error) => println!("page {page}: {error}"),
        }
    }
    Ok(())
}

/// Answers with as many words as the path says; there is no page 7.
fn serve(mut stream: TcpStream) {
    let mut request = String::new();
    let mut lines = BufReader::new(&stream);
    while lines.read_line(&mut request).is_ok_and(|read| read > 2) {}
    let page: usize = request.split(['/', ' ']).nth(2).and_then(|page| page.parse().ok()).unwrap_or(0);
    let (status, body) =
        if page == 7 { ("404 Not Found", String::new()) } else { ("200 OK", "word ".repeat(page)) };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all((head + &body).as_bytes());
}
