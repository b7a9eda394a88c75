//! The outbound guard: no host that a tenant gives leads inside.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use guichet::clock::Clock;
use guichet::delivery::outbound::{Guard, Resolver, Transport};
use guichet::delivery::sms::{self, HttpBody, HttpMethod, HttpSettings, SmsOptions, SmsProvider, SuccessRule};
use guichet::delivery::smtp::{Security, SmtpSender, SmtpSettings};
use guichet::delivery::{DeliveryError, Envelope, Rendered, Sender, Stage};
use guichet::domain::contact::{Contact, EmailAddress};
use guichet::domain::ids::MessageId;
use tokio::net::TcpListener;

use super::provider::{Provider, Reply, answer, options, sms};

/// Answers every question with the next of its answers, then with the last for ever.
struct Answers {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Answers {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |some: &&[&str]| some.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self { answers: answers.iter().map(parse).collect(), asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Resolver for Answers {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let at = self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.answers[at.min(self.answers.len() - 1)].clone())
    }
}

fn get(url: String) -> SmsProvider {
    SmsProvider::Http(HttpSettings {
        url,
        method: HttpMethod::Get,
        headers: Vec::new(),
        body: HttpBody::Empty,
        success: SuccessRule::default(),
    })
}

fn is_refused_host(error: &DeliveryError) -> bool {
    matches!(error, DeliveryError::Refused { stage: Stage::Resolve, reason } if reason.as_str() == "refused_host")
}

/// Literals in every spelling that some resolver or browser takes for an address of the inside.
pub(crate) const HOSTILE_HOSTS: &[&str] = &[
    "localhost",
    "LOCALHOST",
    "localhost.",
    "auth.localhost",
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "0x7f.1",
    "127.000.000.001",
    "0",
    "0.0.0.0",
    "00000000",
    "10.0.0.1",
    "0x0a.0.0.1",
    "012.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "192.168.257",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "169.254.43518",
    "2852039166",
    "0xA9FEA9FE",
    "0251.0376.0251.0376",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "4294967295",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:169.254.169.254]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:a00:1::1]",
    "[2001:db8::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[::1%25lo]",
    "[fe80::1%25eth0]",
    "①②⑦.⓪.⓪.①",
    "１２７.０.０.１",
    "127。0。0。1",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "loc\u{ad}alhost",
    "%31%32%37.0.0.1",
    "%6c%6f%63%61%6c%68%6f%73%74",
    "user@127.0.0.1",
    "api.example.com@127.0.0.1",
    "127.0.0.1:80@api.example.com",
    "127.0.0.1\\@api.example.com",
    "127.0.0.1#@api.example.com",
    "127.0.0.1?.example.com",
    "127.0.0.1/.example.com",
    "127.0.0.1%00.example.com",
    "256.256.256.256",
    "1.2.3.4.5",
    "999999999999",
    "",
    ".",
    " ",
];

#[test]
fn no_spelling_of_an_inside_address_passes() {
    assert!(HOSTILE_HOSTS.len() >= 40);
    let guard = Guard::new(Vec::new());
    for host in HOSTILE_HOSTS {
        let url = format!("https://{host}/send");
        assert!(guard.check_url(&url).is_err(), "{url}");
        assert!(sms::sender(get(url.clone()), &SmsOptions { guard: guard.clone(), ..options() }).is_err(), "{url}");
        for bare in [*host, host.trim_matches(['[', ']'])] {
            assert!(guard.check_host(bare, 587, Transport::SmtpTls).is_err(), "{bare}");
        }
    }
}

#[test]
fn a_url_that_hides_where_it_goes_is_refused() {
    let guard = Guard::new(Vec::new());
    for url in [
        "https://api.example.com:22/",
        "https://api.example.com:80/",
        "https://api.example.com:0/",
        "http://api.example.com/",
        "http://api.example.com:443/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "ftp://api.example.com/",
        "dict://api.example.com:443/",
        "javascript:alert(1)",
        "//api.example.com/",
        "api.example.com",
        "https://user:password@api.example.com/",
        "https://:password@api.example.com/",
        "https:///send",
        "https://{to}/",
    ] {
        assert!(guard.check_url(url).is_err(), "{url}");
    }
    assert_eq!(guard.check_url("https://api.example.com/send?to={to}"), Ok(()));
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_with_one_word_and_never_dialled() {
    let inside = [
        "127.0.0.1",
        "10.0.0.1",
        "172.20.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
        "2002:7f00:1::",
        "255.255.255.255",
    ];
    for address in inside {
        let guard = Guard::new(Vec::new()).with_resolver(Answers::new(&[&[address]]));

        let sender =
            sms::sender(get("https://api.example.com/".into()), &SmsOptions { guard: guard.clone(), ..options() });
        let error = sender.unwrap().send(&sms("hello")).await.unwrap_err();
        assert!(is_refused_host(&error), "{address}: {error}");

        let error = mail(&smtp(guard, "smtp.example.com", 587)).await.unwrap_err();
        assert!(is_refused_host(&error), "{address}: {error}");
    }
}

#[tokio::test]
async fn a_refused_target_tells_nothing_of_what_stands_there() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let open = listener.local_addr().unwrap().port();
    let closed = {
        let other = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        other.local_addr().unwrap().port()
    };
    // Another network is allowed, so that the port alone refuses nothing.
    let guard = || Guard::new(vec!["10.9.9.9/32".parse().unwrap()]).with_resolver(Answers::new(&[&["127.0.0.1"]]));

    let on_open = mail(&smtp(guard(), "smtp.example.com", open)).await.unwrap_err();
    let on_closed = mail(&smtp(guard(), "smtp.example.com", closed)).await.unwrap_err();

    assert_eq!(on_open, on_closed);
    assert!(is_refused_host(&on_open), "{on_open}");
    let dialled = tokio::time::timeout(std::time::Duration::from_millis(100), listener.accept()).await;
    assert!(dialled.is_err(), "nobody called");
}

#[tokio::test]
async fn a_name_that_changes_between_check_and_use_gains_nothing() {
    let provider = Provider::always(answer(200, "{}")).await;
    let url = format!("http://api.example.com:{}/", provider.address.port());
    // Only 127.0.0.1 is allowed. The name is good at the first look, and bad at every other.
    let answers = Answers::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let guard = Guard::new(vec!["127.0.0.1/32".parse().unwrap()]).with_resolver(answers.clone());
    let sender = sms::sender(get(url), &SmsOptions { guard, ..options() }).unwrap();

    sender.send(&sms("hello")).await.unwrap();

    assert_eq!(answers.asked.load(Ordering::SeqCst), 1, "one look-up for one connection");
    assert_eq!(provider.only().peer.ip().to_string(), "127.0.0.1");
}

#[tokio::test]
async fn a_name_that_turns_bad_later_is_refused_then() {
    let provider = Provider::always(answer(200, "{}")).await;
    let url = format!("http://api.example.com:{}/", provider.address.port());
    let guard = Guard::new(vec!["127.0.0.1/32".parse().unwrap()])
        .with_resolver(Answers::new(&[&["127.0.0.1"], &["169.254.169.254"]]));
    let clock = Clock::system();
    let sender = sms::sender(get(url), &SmsOptions { guard, clock: clock.clone(), ..options() }).unwrap();

    sender.send(&sms("hello")).await.unwrap();
    // Past the life of a kept connection.
    clock.advance(std::time::Duration::from_secs(60));
    let error = sender.send(&sms("hello")).await.unwrap_err();

    assert!(is_refused_host(&error), "{error}");
    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test]
async fn of_several_addresses_only_the_permitted_are_dialled() {
    let provider = Provider::always(answer(200, "{}")).await;
    let url = format!("http://api.example.com:{}/", provider.address.port());
    let guard = Guard::new(vec!["127.0.0.1/32".parse().unwrap()]).with_resolver(Answers::new(&[&[
        "10.0.0.1",
        "::1",
        "127.0.0.1",
        "169.254.169.254",
    ]]));
    let sender = sms::sender(get(url), &SmsOptions { guard, ..options() }).unwrap();

    sender.send(&sms("hello")).await.unwrap();

    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_a_refusal_and_is_never_followed() {
    let inside = Provider::always(answer(200, "{}")).await;
    let target = format!("http://{}/latest/meta-data/", inside.address);
    let provider = Provider::always(Reply::Redirect(target)).await;
    let sender = sms::sender(get(provider.url()), &options()).unwrap();

    let error = sender.send(&sms("hello")).await.unwrap_err();

    assert!(matches!(&error, DeliveryError::Refused { reason, .. } if reason.as_str() == "307"), "{error}");
    assert_eq!((provider.asked().len(), inside.asked().len()), (1, 0));
}

#[tokio::test]
async fn the_provider_is_spoken_to_directly_and_without_cookies() {
    let provider = Provider::always(answer(200, "{}")).await;

    sms::sender(get(format!("{}/x", provider.url())), &options()).unwrap().send(&sms("hello")).await.unwrap();

    let asked = provider.only();
    assert_eq!((asked.target.as_str(), asked.header("host")), ("/x", provider.address.to_string().as_str()));
    assert!(asked.header("cookie").is_empty());
}

fn smtp(guard: Guard, host: &str, port: u16) -> SmtpSender {
    let settings = SmtpSettings {
        host: host.to_owned(),
        port,
        security: Security::StartTls,
        login: None,
        from: "noreply@example.org".to_owned(),
        reply_to: None,
        timeout: std::time::Duration::from_secs(10),
        extra_roots: None,
    };
    SmtpSender::new(settings, Clock::system(), guard).unwrap()
}

async fn mail(sender: &SmtpSender) -> Result<(), DeliveryError> {
    let envelope = Envelope {
        id: MessageId::random([7; 16]),
        to: Contact::Email(EmailAddress::parse("awa@example.com").unwrap()),
        rendered: Rendered { subject: Some("Hello".into()), text: "Hello".into(), html: None },
        code: None,
        not_after: None,
    };
    sender.send(&envelope).await.map(|_| ())
}
