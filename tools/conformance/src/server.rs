//! A web server of the files in a folder, for `ADD http://…`.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};

/// Serves `folder` on a free loopback port for as long as the process lives; gives `host:port`.
pub fn serve(folder: PathBuf) -> std::io::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folder = folder.clone();
            // A client that goes away is its own affair.
            std::thread::spawn(move || answer(&stream, &folder).ok());
        }
    });
    Ok(address)
}

fn answer(mut stream: &TcpStream, folder: &Path) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = Path::new(target.split('?').next().unwrap_or_default().trim_start_matches('/'));
    if let Some(name) = target.strip_prefix("/redirect/") {
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: /{name}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    let content = if inside { fs_err::read(folder.join(path)).ok() } else { None };
    let Some(content) = content else {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nLast-Modified: Sun, 13 Sep 2020 12:26:40 GMT\r\n\
         Connection: close\r\n\r\n",
        content.len()
    )?;
    if method == "GET" { stream.write_all(&content) } else { Ok(()) }
}
