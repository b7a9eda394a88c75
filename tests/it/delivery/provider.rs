//! A provider on this machine: answers as told, remembers what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use guichet::clock::Clock;
use guichet::delivery::outbound::Guard;
use guichet::delivery::sms::SmsOptions;
use guichet::delivery::{Envelope, Rendered};
use guichet::domain::contact::{Contact, PhoneNumber};
use guichet::domain::ids::MessageId;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::certificate::Certificate;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// Which connection brought it.
    pub(crate) peer: SocketAddr,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body's pairs, sorted.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        let mut pairs: Vec<_> = form_urlencoded::parse(self.body.as_bytes()).into_owned().collect();
        pairs.sort();
        pairs
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What the provider does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answers in full.
    Answer(u16, String),
    /// Answers with a redirect.
    Redirect(String),
    /// Answers in full, but not at once.
    Late(std::time::Duration, u16, String),
    /// Reads it and never says a word.
    Silence,
    /// Reads it and hangs up.
    HangUp,
    /// Answers 200 and hangs up in the middle of the body.
    Half,
    /// Answers with a body of so many bytes.
    Long(u16, usize),
}

pub(crate) fn answer(status: u16, body: &str) -> Reply {
    Reply::Answer(status, body.to_owned())
}

type Script = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// A running provider; its task ends with the test.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Provider {
    /// One that answers by `script`, in the clear.
    pub(crate) async fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(None, Arc::new(script)).await
    }

    /// One that always gives the same answer.
    pub(crate) async fn always(reply: Reply) -> Self {
        Self::start(move |_| reply.clone()).await
    }

    /// One that shows `certificate`.
    pub(crate) async fn start_tls(certificate: &Certificate, reply: Reply) -> Self {
        let chain = CertificateDer::pem_file_iter(certificate.path("cert.pem")).unwrap();
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(certificate.path("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::serve(Some(TlsAcceptor::from(Arc::new(config))), Arc::new(move |_| reply.clone())).await
    }

    async fn serve(tls: Option<TlsAcceptor>, script: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let (tls, script, seen) = (tls.clone(), Arc::clone(&script), Arc::clone(&seen));
                tokio::spawn(async move {
                    let service =
                        service_fn(move |request| reply(request, peer, Arc::clone(&script), Arc::clone(&seen)));
                    let server = hyper::server::conn::http1::Builder::new();
                    // A client that goes away is part of some tests.
                    let _ = match tls {
                        None => server.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often it was asked so far.
    pub(crate) fn times_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// The one thing it was asked.
    pub(crate) fn only(&self) -> Asked {
        let asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked[0].clone()
    }
}

type Body = BoxBody<Bytes, std::io::Error>;

async fn reply(
    request: Request<Incoming>,
    peer: SocketAddr,
    script: Script,
    seen: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<Body>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let asked = Asked {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
        peer,
    };
    let reply = script(&asked);
    seen.lock().unwrap().push(asked);
    if let Reply::Late(by, ..) = reply {
        tokio::time::sleep(by).await;
    }
    let whole = |text: String| Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed();
    let response = Response::builder().header("content-type", "application/json");
    let response = match reply {
        Reply::Answer(status, body) | Reply::Late(_, status, body) => response.status(status).body(whole(body)),
        Reply::Redirect(to) => response.status(307).header("location", to).body(whole(String::new())),
        Reply::Silence => std::future::pending().await,
        Reply::HangUp => return Err(std::io::Error::other("hangs up")),
        Reply::Half => {
            let frames = [Ok(Frame::data(Bytes::from_static(b"{\"sid\":"))), Err(std::io::Error::other("hangs up"))];
            response.status(200).body(BoxBody::new(StreamBody::new(futures_util::stream::iter(frames))))
        }
        Reply::Long(status, bytes) => response.status(status).body(whole("x".repeat(bytes))),
    };
    Ok(response.unwrap())
}

/// Senders may reach this machine, and the internet.
pub(crate) fn options() -> SmsOptions {
    SmsOptions {
        guard: Guard::new(vec!["127.0.0.0/8".parse().unwrap()]),
        clock: Clock::system(),
        timeout: std::time::Duration::from_secs(15),
        callback: None,
        extra_roots: None,
    }
}

pub(crate) fn sms(text: &str) -> Envelope {
    Envelope {
        id: MessageId::random([7; 16]),
        to: Contact::Phone(PhoneNumber::parse("+221771234567", None).unwrap()),
        rendered: Rendered { subject: None, text: text.to_owned(), html: None },
        code: Some("482913".into()),
        not_after: None,
    }
}
