//! As much of the Redis protocol as starting servers takes, so that this crate depends on nothing.

use std::{
    io::{self, BufRead, BufReader, Write as _},
    net::TcpStream,
    time::Duration,
};

/// Sends one command over a connection of its own, and answers what a person would read: strings and
/// numbers as they are, arrays with one element on each line, nil as nothing.
///
/// # Errors
///
/// The server's own text for an error reply; what failed where there was no reply.
pub fn redis_command(port: u16, arguments: &[&str]) -> Result<String, String> {
    let failed = |error: io::Error| format!("port {port}: {error}");
    let stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
    let bulk = |text: &&str| format!("${}\r\n{text}\r\n", text.len());
    let request: String = arguments.iter().map(bulk).collect();
    let request = format!("*{}\r\n{request}", arguments.len());
    (&stream).write_all(request.as_bytes()).map_err(failed)?;
    let mut text = String::new();
    reply(&mut BufReader::new(stream), &mut text).map_err(failed)??;
    Ok(text)
}

fn reply(input: &mut impl BufRead, text: &mut String) -> io::Result<Result<(), String>> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).ok_or(io::ErrorKind::UnexpectedEof)?;
    let count = || rest.parse::<i64>().map_err(|_| io::ErrorKind::InvalidData);
    match kind {
        "-" => return Ok(Err(rest.to_owned())),
        "$" => {
            if let Ok(len) = usize::try_from(count()?) {
                let mut bytes = vec![0; len + 2];
                input.read_exact(&mut bytes)?;
                text.push_str(&String::from_utf8_lossy(&bytes[..len]));
            }
        }
        "*" => {
            for at in 0..count()? {
                if at > 0 {
                    text.push('\n');
                }
                if let Err(error) = reply(input, text)? {
                    text.push_str(&error);
                }
            }
        }
        _ => text.push_str(rest),
    }
    Ok(Ok(()))
}
