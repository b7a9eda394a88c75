//! An app behind a gateway: answers with what arrived, so that tests can look at it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running app.
pub(super) struct App {
    pub(super) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl App {
    /// Starts one that calls itself `name`.
    pub(super) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move { serve(name, stream, &counted).await });
            }
        });
        Self { address, requests, task }
    }

    /// Requests that reached it.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(name: &str, stream: TcpStream, requests: &AtomicUsize) -> Option<()> {
    let mut stream = BufStream::new(stream);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next()?, words.next()?);
        let headers = headers(&mut stream).await?;
        requests.fetch_add(1, Ordering::SeqCst);
        if headers.get("upgrade").is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket")) {
            return echo(stream).await;
        }
        let received = body(&mut stream, &headers).await?;
        let told = json!({ "app": name, "method": method, "path": path, "headers": headers, "received": received });
        let told = told.to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", told.len());
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(told.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

/// Names in lower case; values of a name that came more than once are joined.
async fn headers(stream: &mut BufStream<TcpStream>) -> Option<BTreeMap<String, String>> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Some(headers);
        }
        let (name, value) = line.split_once(':')?;
        let known = headers.entry(name.to_ascii_lowercase()).or_default();
        if !known.is_empty() {
            known.push_str(", ");
        }
        known.push_str(value.trim());
    }
}

/// How many bytes of body came.
async fn body(stream: &mut BufStream<TcpStream>, headers: &BTreeMap<String, String>) -> Option<usize> {
    if headers.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        let mut whole = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            let length = usize::from_str_radix(line.trim(), 16).ok()?;
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk).await.ok()?;
            if length == 0 {
                return Some(whole);
            }
            whole += length;
        }
    }
    let length = headers.get("content-length").map_or(Ok(0), |length| length.parse()).ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(length)
}

/// Switches protocols and gives back every byte: what a tunnel needs to be seen to work.
async fn echo(mut stream: BufStream<TcpStream>) -> Option<()> {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stream.write_all(switch.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    let mut bytes = [0; 1024];
    loop {
        let read = stream.read(&mut bytes).await.ok().filter(|read| *read > 0)?;
        stream.write_all(bytes.get(..read)?).await.ok()?;
        stream.flush().await.ok()?;
    }
}
