//! Every way to fail is named by the stage it failed at, and says whether a message may be out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use guichet::clock::Clock;
use guichet::delivery::outbound::Guard;
use guichet::delivery::sms::{self, SmsOptions, SmsProvider, TwilioSettings};
use guichet::delivery::smtp::{Security, SmtpLogin, SmtpSender, SmtpSettings};
use guichet::delivery::{DeliveryError, Envelope, Receipt, Rendered, Sender, Stage};
use guichet::domain::contact::{Contact, EmailAddress};
use guichet::domain::ids::MessageId;
use tokio::net::TcpListener;

use super::certificate::Certificate;
use super::mail_server::MailServer;
use super::provider::{Provider, Reply, answer, options, sms};

/// Short enough to wait for, long enough for an honest call on a busy machine.
const DEADLINE: Duration = Duration::from_secs(3);

const TAKEN: &str = r#"{"sid":"SM0123456789abcdef0123456789abcdef","status":"queued"}"#;

fn twilio(base_url: String) -> SmsProvider {
    SmsProvider::Twilio(TwilioSettings {
        account_sid: "AC0123456789abcdef0123456789abcdef".into(),
        auth_token: "s3cret".into(),
        from: Some("+15005550006".into()),
        messaging_service_sid: None,
        base_url: Some(base_url),
    })
}

async fn text(base_url: String, options: &SmsOptions) -> Result<Receipt, DeliveryError> {
    sms::sender(twilio(base_url), options).unwrap().send(&sms("482913 is your code.")).await
}

fn guard() -> Guard {
    Guard::new(vec!["127.0.0.0/8".parse().unwrap()])
}

fn smtp(port: u16) -> SmtpSettings {
    SmtpSettings {
        host: "localhost".into(),
        port,
        security: Security::None,
        login: None,
        from: "noreply@example.org".into(),
        reply_to: None,
        timeout: Duration::from_secs(15),
        extra_roots: None,
    }
}

async fn mail(settings: SmtpSettings) -> Result<Receipt, DeliveryError> {
    let envelope = Envelope {
        id: MessageId::random([7; 16]),
        to: Contact::Email(EmailAddress::parse("awa@example.com").unwrap()),
        rendered: Rendered { subject: Some("Hello".into()), text: "Hello".into(), html: None },
        code: None,
        not_after: None,
    };
    SmtpSender::new(settings, Clock::system(), guard()).unwrap().send(&envelope).await
}

fn told(outcome: Result<Receipt, DeliveryError>) -> (Stage, bool, String) {
    match outcome {
        Ok(_) => (Stage::Accepted, true, String::new()),
        Err(error) => (error.stage(), error.is_definite(), error.reason().to_string()),
    }
}

async fn port_nobody_listens_on() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn each_failing_stage_of_a_mail_is_named() {
    let certificate = Certificate::new();
    let login = |password: &str| Some(SmtpLogin { username: "tenant".into(), password: password.into() });
    let refusing = |reply| MailServer::start(&["--refuse", reply]);

    let unknown = SmtpSettings { host: "no-such-host.invalid".into(), ..smtp(587) };
    assert_eq!(told(mail(unknown).await), (Stage::Resolve, true, "host_not_found".into()));
    let dead = port_nobody_listens_on().await;
    assert_eq!(told(mail(smtp(dead)).await), (Stage::Connect, true, "connect_failed".into()));
    let server = certificate.serve("starttls", &[]);
    let untrusting = SmtpSettings { security: Security::StartTls, ..smtp(server.port) };
    assert_eq!(told(mail(untrusting.clone()).await), (Stage::Tls, true, "tls_failed".into()));
    let server = certificate.serve("starttls", &["--login", "tenant:s3cret"]);
    let trusting = SmtpSettings { port: server.port, extra_roots: Some(certificate.pem()), ..untrusting };
    let wrong = SmtpSettings { login: login("wrong"), ..trusting.clone() };
    assert_eq!(told(mail(wrong).await), (Stage::Auth, true, "535".into()));
    let server = refusing("mail=550 5.7.1 not you");
    assert_eq!(told(mail(smtp(server.port)).await), (Stage::Sender, true, "550".into()));
    let server = refusing("rcpt=550 5.1.1 nobody");
    assert_eq!(told(mail(smtp(server.port)).await), (Stage::Recipient, true, "550".into()));
    let right = SmtpSettings { login: login("s3cret"), ..trusting };
    assert_eq!(told(mail(right).await), (Stage::Accepted, true, String::new()));
}

#[tokio::test]
async fn each_failing_stage_of_an_sms_is_named() {
    let certificate = Certificate::new();
    let options = options();
    let says = async |status, body: &str| {
        let provider = Provider::always(answer(status, body)).await;
        told(text(provider.url(), &options).await)
    };

    let unknown = text("https://no-such-host.invalid".into(), &options).await;
    assert_eq!(told(unknown), (Stage::Resolve, true, "host_not_found".into()));
    let dead = port_nobody_listens_on().await;
    let nobody = text(format!("http://127.0.0.1:{dead}"), &options).await;
    assert_eq!(told(nobody), (Stage::Connect, true, "connect_failed".into()));
    let provider = Provider::start_tls(&certificate, answer(201, TAKEN)).await;
    let url = format!("https://localhost:{}", provider.address.port());
    assert_eq!(told(text(url.clone(), &options).await), (Stage::Tls, true, "tls_failed".into()));
    assert!(provider.asked().is_empty(), "no credential leaves before the certificate is good");
    let wrong = says(401, r#"{"code":20003,"message":"Authenticate","status":401}"#).await;
    assert_eq!(wrong, (Stage::Auth, true, "20003".into()));
    let not_ours = says(400, r#"{"code":21606,"message":"From is not yours","status":400}"#).await;
    assert_eq!(not_ours, (Stage::Sender, true, "21606".into()));
    let nobody = says(400, r#"{"code":21211,"message":"+221771234567 is not valid","status":400}"#).await;
    assert_eq!(nobody, (Stage::Recipient, true, "21211".into()));
    let trusting = SmsOptions { extra_roots: Some(certificate.pem()), ..options.clone() };
    assert_eq!(told(text(url, &trusting).await), (Stage::Accepted, true, String::new()));
}

#[tokio::test]
async fn a_certificate_for_another_host_gets_nothing() {
    let certificate = Certificate::new();
    let provider = Provider::start_tls(&certificate, answer(201, TAKEN)).await;
    let trusting = SmsOptions { extra_roots: Some(certificate.pem()), ..options() };

    let outcome = text(format!("https://127.0.0.1:{}", provider.address.port()), &trusting).await;

    assert_eq!(told(outcome), (Stage::Tls, true, "tls_failed".into()));
    assert!(provider.asked().is_empty());
}

#[tokio::test]
async fn whoever_accepts_and_stays_silent_before_tls_has_taken_nothing() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let sender = sms::sender(twilio(url), &SmsOptions { timeout: DEADLINE, ..options() }).unwrap();
    let started = Instant::now();

    let outcome = sender.send(&sms("482913 is your code.")).await;

    assert_eq!(told(outcome), (Stage::Tls, true, "time_out".into()));
    assert!(started.elapsed() < DEADLINE * 5, "it ends, also on a busy machine");
}

#[tokio::test]
async fn after_the_request_only_a_whole_answer_is_definite() {
    let options = SmsOptions { timeout: DEADLINE, ..options() };
    let cases = [
        (Reply::Silence, false, "time_out"),
        (Reply::HangUp, false, "connection_lost"),
        (Reply::Half, false, "connection_lost"),
        (Reply::Long(201, 70_000), false, "answer_too_long"),
        (answer(201, "<html>"), false, "answer_unreadable"),
        (Reply::Long(500, 70_000), true, "500"),
        (answer(500, "<html>"), true, "500"),
        (answer(429, ""), true, "429"),
        (answer(503, ""), true, "503"),
        (answer(403, ""), true, "403"),
        (answer(404, ""), true, "404"),
        (answer(201, r#"{"sid":"SM1","status":"failed","error_code":30007}"#), true, "30007"),
    ];
    for (reply, definite, why) in cases {
        let provider = Provider::always(reply.clone()).await;
        let started = Instant::now();
        let (_, was_definite, reason) = told(text(provider.url(), &options).await);
        assert_eq!((was_definite, reason.as_str()), (definite, why), "{reply:?}");
        assert_eq!(provider.asked().len(), 1, "asked once: {reply:?}");
        assert!(started.elapsed() < DEADLINE * 5, "it ends, also on a busy machine");
    }
}

#[tokio::test]
async fn a_busy_provider_may_be_asked_again_and_a_refusing_one_not() {
    for (status, later) in [(429, true), (500, true), (503, true), (400, false), (401, false), (404, false)] {
        let provider = Provider::always(answer(status, "{}")).await;
        let error = text(provider.url(), &options()).await.unwrap_err();
        assert_eq!(matches!(error, DeliveryError::Temporary { .. }), later, "{status}: {error}");
    }
}

#[tokio::test]
async fn calls_share_a_connection_while_it_lives_and_is_fresh() {
    let provider = Provider::always(answer(201, TAKEN)).await;
    let clock = Clock::system();
    let sender = sms::sender(twilio(provider.url()), &SmsOptions { clock: clock.clone(), ..options() }).unwrap();

    sender.send(&sms("one")).await.unwrap();
    sender.send(&sms("two")).await.unwrap();
    clock.advance(Duration::from_secs(16));
    sender.send(&sms("three")).await.unwrap();

    let peers: Vec<_> = provider.asked().iter().map(|asked| asked.peer).collect();
    assert_eq!(peers[0], peers[1]);
    assert_ne!(peers[1], peers[2]);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_costs_nothing() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&served);
    let (closed, mut was_closed) = tokio::sync::mpsc::channel(2);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            // Says that the connection stays, and closes it all the same.
            let head = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n{TAKEN}", TAKEN.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            drop(stream);
            closed.send(()).await.unwrap();
        }
    });
    let sender = sms::sender(twilio(url), &options()).unwrap();

    sender.send(&sms("one")).await.unwrap();
    was_closed.recv().await.unwrap();
    // The close has left the server; the client's side of it is seen when its task runs.
    tokio::time::sleep(Duration::from_millis(50)).await;
    sender.send(&sms("two")).await.unwrap();

    assert_eq!(served.load(Ordering::SeqCst), 2);
}
