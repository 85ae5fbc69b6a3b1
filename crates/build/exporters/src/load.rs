//! Loads an image into Docker: `POST /images/load` with a Docker archive, over its socket.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use build_api::ArchiveFormat;
use oci::Reference;

use crate::image::Image;
use crate::task::Task;
use crate::{ExportContext, ExportError, archives};

const DEFAULT: &str = "unix:///var/run/docker.sock";
/// Docker answers after it has unpacked everything.
const PATIENCE: Duration = Duration::from_mins(30);
/// Of Docker's answer, at most this much is read.
const ANSWER: u64 = 1 << 20;

pub(crate) fn load(
    image: &Image,
    names: &[Reference],
    context: &ExportContext<'_>,
) -> Result<String, ExportError> {
    let host = context.docker_host.as_deref().filter(|host| !host.is_empty()).unwrap_or(DEFAULT);
    let task = Task::begin(context, &format!("loading into Docker at {host}"));
    let outcome = send(host, |out| {
        archives::write_tar(image, names, ArchiveFormat::Docker, context, host, out)
    });
    task.end(outcome)?;
    Ok(format!(
        "loaded {} into Docker",
        names.first().map_or_else(|| image.root.digest.to_string(), Reference::familiar)
    ))
}

trait Connection: Read + Write + Send {}
impl<T: Read + Write + Send> Connection for T {}

fn connect(host: &str) -> io::Result<Box<dyn Connection>> {
    if let Some(path) = host.strip_prefix("unix://") {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        return Ok(Box::new(socket));
    }
    if let Some(address) = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://")) {
        let socket = TcpStream::connect(address.trim_end_matches('/'))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        return Ok(Box::new(socket));
    }
    let text = "only unix:// and tcp:// are understood in DOCKER_HOST";
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

fn send(
    host: &str,
    body: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let failed =
        |source| ExportError::Load { host: host.to_owned(), message: None, source: Some(source) };
    let mut connection = connect(host).map_err(failed)?;
    let head = "POST /images/load?quiet=1 HTTP/1.1\r\nHost: docker\r\nContent-Type: application/x-tar\r\n\
                Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    connection.write_all(head.as_bytes()).map_err(failed)?;
    let sent = (|| {
        let mut out = BufWriter::with_capacity(256 << 10, Chunked { to: &mut connection });
        body(&mut out)?;
        out.flush().map_err(failed)?;
        drop(out);
        connection.write_all(b"0\r\n\r\n").and_then(|()| connection.flush()).map_err(failed)
    })();
    // A server that refuses says why, even when it does not listen to the end.
    match (sent, answer(connection)) {
        (_, Ok((status, text))) if status != 200 => Err(refused(host, &text)),
        (Ok(()), Ok((_, text))) if text.contains("\"error\"") => Err(refused(host, &text)),
        (Ok(()), Ok(_)) => Ok(()),
        (Err(error), _) => Err(error),
        (Ok(()), Err(source)) => Err(failed(source)),
    }
}

fn refused(host: &str, text: &str) -> ExportError {
    let lines =
        text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line.trim()).ok());
    let said = lines.into_iter().find_map(|value| {
        let text = value.get("error").or_else(|| value.get("message"))?;
        text.as_str().map(str::to_owned)
    });
    let message = said.unwrap_or_else(|| text.chars().take(200).collect());
    ExportError::Load { host: host.to_owned(), message: Some(message), source: None }
}

/// Status and body of an HTTP answer.
fn answer(connection: Box<dyn Connection>) -> io::Result<(u16, String)> {
    let mut reader = BufReader::new(connection.take(ANSWER));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))?;
    let (mut chunked, mut length) = (false, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let line = line.to_ascii_lowercase();
        chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
        length =
            length.or_else(|| line.strip_prefix("content-length:")?.trim().parse::<u64>().ok());
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = size
                .trim()
                .split(';')
                .next()
                .and_then(|size| u64::from_str_radix(size, 16).ok())
                .unwrap_or(0);
            if size == 0 {
                break;
            }
            io::copy(&mut (&mut reader).take(size), &mut body)?;
            reader.read_line(&mut String::new())?;
        }
    } else {
        io::copy(&mut (&mut reader).take(length.unwrap_or(ANSWER)), &mut body)?;
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Each write becomes a chunk of an HTTP body.
struct Chunked<'a> {
    to: &'a mut Box<dyn Connection>,
}

impl Write for Chunked<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            write!(self.to, "{:x}\r\n", bytes.len())?;
            self.to.write_all(bytes)?;
            self.to.write_all(b"\r\n")?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
