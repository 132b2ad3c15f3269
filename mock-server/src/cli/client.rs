//! `env` and `health`: what one asks of a server that is already running.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::Locate;
use crate::data_dir::{self, Ready};

/// A server that is well answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints `export` lines for the running server.
pub fn env(locate: &Locate) -> Result<(), String> {
    let ready = find(locate)?;
    println!("export DAYTONA_API_URL={}", quoted(&ready.api_url));
    println!("export DAYTONA_API_KEY={}", quoted(&ready.api_key));
    Ok(())
}

/// Prints what the running server says about itself.
pub fn health(locate: &Locate) -> Result<(), String> {
    let ready = find(locate)?;
    let answer = get_health(&ready).map_err(|error| format!("{}: {error}", ready.listen))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) != Some("200") {
        return Err(format!("{} answered {}", ready.listen, head.lines().next().unwrap_or("nothing")));
    }
    println!("{body}");
    Ok(())
}

fn find(locate: &Locate) -> Result<Ready, String> {
    if let Some(path) = &locate.ready_file {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        return serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()));
    }
    let dir = locate.data_dir.clone().unwrap_or_else(data_dir::default_data_dir);
    data_dir::running(&dir).ok_or_else(|| {
        format!("no server is running on {} (start one with `daytona-mock`, or name its --data-dir)", dir.display())
    })
}

fn get_health(ready: &Ready) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&ready.listen, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // HTTP/1.0 without keep-alive: the answer ends with the connection.
    write!(stream, "GET /health HTTP/1.0\r\nHost: {}\r\n\r\n", ready.listen)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// For a POSIX shell.
fn quoted(value: &str) -> String {
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:".contains(&byte));
    if plain { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn keys_of_any_kind_survive_eval() {
        assert_eq!(quoted("http://127.0.0.1:1/api"), "http://127.0.0.1:1/api");
        assert_eq!(quoted("a'b $(x)"), r"'a'\''b $(x)'");
    }
}
