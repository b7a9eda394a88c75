//! SMTP against a real mail server: encryption, credentials, refusals, silence, headers.

use std::time::{Duration, Instant};

use guichet::clock::Clock;
use guichet::delivery::outbound::Guard;
use guichet::delivery::smtp::{Security, SmtpLogin, SmtpSender, SmtpSettings};
use guichet::delivery::{DeliveryError, Envelope, Receipt, Rendered, Sender, Stage};
use guichet::domain::contact::{Contact, EmailAddress};
use guichet::domain::ids::MessageId;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::certificate::Certificate;
use super::mail_server::MailServer;

/// Short enough to wait for, long enough for a busy machine to do an honest conversation in.
const DEADLINE: Duration = Duration::from_secs(3);

fn settings(port: u16) -> SmtpSettings {
    SmtpSettings {
        host: "localhost".to_owned(),
        port,
        security: Security::None,
        login: None,
        from: "Crédit façade <noreply@example.org>".to_owned(),
        reply_to: Some("help@example.org".to_owned()),
        timeout: Duration::from_secs(15),
        extra_roots: None,
    }
}

fn login(password: &str) -> SmtpLogin {
    SmtpLogin { username: "tenant".to_owned(), password: password.into() }
}

/// Lets senders reach this machine, and nothing else.
fn guard() -> Guard {
    Guard::new(vec!["127.0.0.0/8".parse().unwrap()])
}

fn sender(settings: SmtpSettings) -> SmtpSender {
    SmtpSender::new(settings, Clock::system(), guard()).unwrap()
}

pub(super) fn mail_to(address: &str) -> Envelope {
    Envelope {
        id: MessageId::random([7; 16]),
        to: Contact::Email(EmailAddress::parse(address).unwrap()),
        rendered: Rendered {
            subject: Some("Votre code à usage unique, dès maintenant et pour très longtemps — 銀行".to_owned()),
            text: "482913 est votre code.\n\n.un point en tête\n日本 — “voilà”".to_owned(),
            html: Some("<p lang=\"fr\">482913 est votre code. Voilà.</p>".to_owned()),
        },
        code: None,
        not_after: None,
    }
}

async fn send(sender: &SmtpSender) -> Result<Receipt, DeliveryError> {
    sender.send(&mail_to("awa@example.com")).await
}

/// What Python's own mail parser makes of the message: subject, from, text, html.
pub(super) fn parsed(content: &str) -> serde_json::Value {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let program = "import email, email.policy, json, sys\n\
                   m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)\n\
                   part = lambda kind: m.get_body(preferencelist=(kind,)).get_content()\n\
                   print(json.dumps({'headers': {k.lower(): str(v) for k, v in m.items()}, 'names': m.keys(), \
                   'plain': part('plain'), 'html': part('html'), 'defects': [str(d) for d in m.defects]}))";
    let mut child =
        Command::new("python3").args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
}

fn temporary(error: &DeliveryError, at: Stage, why: &str) -> bool {
    matches!(error, DeliveryError::Temporary { stage, reason } if *stage == at && reason.as_str() == why)
}

fn refused(error: &DeliveryError, at: Stage, why: &str) -> bool {
    matches!(error, DeliveryError::Refused { stage, reason } if *stage == at && reason.as_str() == why)
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_written() {
    let server = MailServer::start(&[]);
    let sender = sender(settings(server.port));

    let receipt = send(&sender).await.unwrap();

    let received = server.message();
    assert!(received.content.is_ascii());
    assert_eq!(received.facts["sender"], "noreply@example.org");
    assert_eq!(received.facts["recipients"], serde_json::json!(["awa@example.com"]));
    let mail = parsed(&received.content);
    let expected = mail_to("awa@example.com").rendered;
    assert_eq!(mail["defects"], serde_json::json!([]));
    assert_eq!(mail["headers"]["subject"].as_str(), expected.subject.as_deref());
    assert_eq!(mail["headers"]["from"], "Crédit façade <noreply@example.org>");
    assert_eq!(mail["headers"]["to"], "awa@example.com");
    assert_eq!(mail["headers"]["reply-to"], "help@example.org");
    assert_eq!(mail["headers"]["auto-submitted"], "auto-generated");
    assert_eq!(mail["headers"]["message-id"].as_str(), receipt.reference.as_deref());
    assert!(mail["headers"]["date"].as_str().unwrap().ends_with("+0000"));
    assert!(mail["headers"]["content-type"].as_str().unwrap().starts_with("multipart/alternative"));
    assert_eq!(mail["plain"].as_str().unwrap().replace("\r\n", "\n").trim_end(), expected.text);
    assert_eq!(mail["html"].as_str().unwrap().trim_end(), expected.html.unwrap());
}

#[tokio::test]
async fn mails_share_a_connection_while_it_lives() {
    let server = MailServer::start(&[]);
    let sender = sender(settings(server.port));

    send(&sender).await.unwrap();
    send(&sender).await.unwrap();

    assert_eq!(server.message().facts["peer"], server.message().facts["peer"]);
}

#[tokio::test]
async fn a_parked_connection_gone_stale_costs_nothing() {
    let server = MailServer::start(&["--close-idle"]);
    let sender = sender(settings(server.port));

    send(&sender).await.unwrap();
    let first = server.message();
    server.next("closed");
    send(&sender).await.unwrap();

    assert_ne!(first.facts["peer"], server.message().facts["peer"]);
    assert!(!server.rest().contains(&"message".to_owned()), "one mail each");
}

#[tokio::test]
async fn a_parked_connection_that_no_longer_answers_leaves_time_for_a_fresh_one() {
    let server = MailServer::start(&["--silent", "again"]);
    let sender = sender(SmtpSettings { timeout: DEADLINE, ..settings(server.port) });

    send(&sender).await.unwrap();
    let started = Instant::now();
    send(&sender).await.unwrap();

    assert!(started.elapsed() < DEADLINE);
    assert_ne!(server.message().facts["peer"], server.message().facts["peer"]);
}

#[tokio::test]
async fn a_connection_idle_for_too_long_is_not_used_again() {
    let server = MailServer::start(&[]);
    let clock = Clock::system();
    let sender = SmtpSender::new(settings(server.port), clock.clone(), guard()).unwrap();

    send(&sender).await.unwrap();
    clock.advance(Duration::from_secs(31));
    send(&sender).await.unwrap();

    assert_ne!(server.message().facts["peer"], server.message().facts["peer"]);
}

#[tokio::test]
async fn starttls_and_wrapped_tls_carry_credentials_and_mail() {
    let certificate = Certificate::new();
    for (security, tls) in [(Security::StartTls, "starttls"), (Security::Tls, "wrapper")] {
        let server = certificate.serve(tls, &["--login", "tenant:s3cret"]);
        let sender = sender(SmtpSettings {
            security,
            login: Some(login("s3cret")),
            extra_roots: Some(certificate.pem()),
            ..settings(server.port)
        });

        send(&sender).await.unwrap();

        let received = server.message();
        assert_eq!(received.facts["tls"], true, "{tls}");
        assert_eq!(received.facts["login"], "tenant", "{tls}");
    }
}

#[tokio::test]
async fn a_server_without_starttls_gets_neither_mail_nor_password() {
    let server = MailServer::start(&["--login", "tenant:s3cret"]);
    let sender =
        sender(SmtpSettings { security: Security::StartTls, login: Some(login("s3cret")), ..settings(server.port) });

    let error = send(&sender).await.unwrap_err();

    assert!(refused(&error, Stage::Tls, "starttls_not_offered"), "{error}");
    assert_eq!(server.rest(), ["connected"]);
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_gets_nothing() {
    let certificate = Certificate::new();
    for (security, tls) in [(Security::StartTls, "starttls"), (Security::Tls, "wrapper")] {
        let server = certificate.serve(tls, &[]);
        let sender = sender(SmtpSettings { security, ..settings(server.port) });

        let error = send(&sender).await.unwrap_err();

        assert!(temporary(&error, Stage::Tls, "tls_failed"), "{tls}: {error}");
        assert!(!server.rest().iter().any(|event| event == "mail"));
    }
}

#[tokio::test]
async fn a_certificate_for_another_host_gets_nothing() {
    let certificate = Certificate::new();
    let server = certificate.serve("wrapper", &[]);
    let sender = sender(SmtpSettings {
        host: "127.0.0.1".to_owned(),
        security: Security::Tls,
        extra_roots: Some(certificate.pem()),
        ..settings(server.port)
    });

    let error = send(&sender).await.unwrap_err();

    assert!(temporary(&error, Stage::Tls, "tls_failed"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_at_auth() {
    let certificate = Certificate::new();
    let server = certificate.serve("starttls", &["--login", "tenant:s3cret"]);
    let sender = sender(SmtpSettings {
        security: Security::StartTls,
        login: Some(login("wrong")),
        extra_roots: Some(certificate.pem()),
        ..settings(server.port)
    });

    let error = send(&sender).await.unwrap_err();

    assert!(refused(&error, Stage::Auth, "535"), "{error}");
}

#[tokio::test]
async fn credentials_for_a_server_that_wants_none_are_refused_at_auth() {
    let server = MailServer::start(&[]);
    let sender = sender(SmtpSettings { login: Some(login("s3cret")), ..settings(server.port) });

    let error = send(&sender).await.unwrap_err();

    assert!(error.stage() == Stage::Auth && error.is_definite(), "{error}");
}

#[tokio::test]
async fn the_servers_code_decides_whether_to_try_again() {
    let cases = [("mail", Stage::Sender), ("rcpt", Stage::Recipient), ("data", Stage::Recipient)];
    for (stage, expected) in cases {
        let reply = format!("{stage}=451 4.7.1 awa@example.com is greylisted");
        let server = MailServer::start(&["--refuse", &reply]);
        let error = send(&sender(settings(server.port))).await.unwrap_err();
        assert!(temporary(&error, expected, "451"), "{stage}: {error}");

        let reply = format!("{stage}=550 5.1.1 awa@example.com is unknown");
        let server = MailServer::start(&["--refuse", &reply]);
        let error = send(&sender(settings(server.port))).await.unwrap_err();
        assert!(refused(&error, expected, "550"), "{stage}: {error}");
        assert!(!format!("{error} {error:?}").contains("awa"), "{error}");
    }
}

#[tokio::test]
async fn a_refused_mail_does_not_spoil_the_next_one() {
    let server = MailServer::start(&["--no-utf8"]);
    let sender = sender(settings(server.port));

    let error = sender.send(&mail_to("rené@example.com")).await.unwrap_err();
    send(&sender).await.unwrap();

    assert!(refused(&error, Stage::Sender, "smtputf8_not_offered"), "{error}");
    assert_eq!(server.message().facts["recipients"], serde_json::json!(["awa@example.com"]));
}

#[tokio::test]
async fn an_address_outside_ascii_arrives_where_the_server_knows_it() {
    let server = MailServer::start(&[]);

    sender(settings(server.port)).send(&mail_to("rené@example.com")).await.unwrap();

    assert_eq!(server.message().facts["recipients"], serde_json::json!(["rené@example.com"]));
}

#[tokio::test]
async fn silence_before_the_message_means_not_sent() {
    let server = MailServer::start(&["--silent", "mail"]);
    let started = Instant::now();

    let error = send(&sender(SmtpSettings { timeout: DEADLINE, ..settings(server.port) })).await.unwrap_err();

    assert!(temporary(&error, Stage::Sender, "time_out"), "{error}");
    assert!((DEADLINE..DEADLINE * 2).contains(&started.elapsed()));
}

#[tokio::test]
async fn silence_after_the_message_means_nobody_knows() {
    for (arguments, why) in [(["--silent", "data"].as_slice(), "time_out"), (&["--drop"], "connection_lost")] {
        let server = MailServer::start(arguments);
        let started = Instant::now();

        let error = send(&sender(SmtpSettings { timeout: DEADLINE, ..settings(server.port) })).await.unwrap_err();

        assert!(matches!(&error, DeliveryError::Unknown { reason } if reason.as_str() == why), "{error}");
        assert!(!error.is_definite() && started.elapsed() < DEADLINE * 2);
        server.message();
        assert!(!server.rest().contains(&"message".to_owned()), "offered once only");
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_stays_silent_ends_at_the_deadline() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Holds the connection open and never says a word, until the client gives up.
    let silent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
    });
    let started = Instant::now();

    let error = send(&sender(SmtpSettings { timeout: DEADLINE, ..settings(port) })).await.unwrap_err();

    assert!(temporary(&error, Stage::Connect, "time_out"), "{error}");
    assert!((DEADLINE..DEADLINE * 2).contains(&started.elapsed()));
    silent.await.unwrap();
}

#[tokio::test]
async fn tls_spoken_on_a_plain_port_ends_at_once_or_at_the_deadline() {
    let server = MailServer::start(&[]);
    let started = Instant::now();

    let error = send(&sender(SmtpSettings { security: Security::Tls, timeout: DEADLINE, ..settings(server.port) }))
        .await
        .unwrap_err();

    assert!(error.is_definite() && error.stage() == Stage::Tls, "{error}");
    assert!(started.elapsed() < DEADLINE * 2);
}

#[tokio::test]
async fn nobody_listening_and_nobody_known_are_told_apart() {
    let port = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        listener.local_addr().unwrap().port()
    };

    let error = send(&sender(settings(port))).await.unwrap_err();
    assert!(temporary(&error, Stage::Connect, "connect_failed"), "{error}");

    let host = "no-such-host.invalid".to_owned();
    let error = send(&sender(SmtpSettings { host, ..settings(port) })).await.unwrap_err();
    assert!(temporary(&error, Stage::Resolve, "host_not_found"), "{error}");
}

#[tokio::test]
async fn a_hostile_subject_is_never_two_headers() {
    let server = MailServer::start(&[]);
    let sender = sender(settings(server.port));
    let mut envelope = mail_to("awa@example.com");
    envelope.rendered.subject = Some("Hello\r\nBcc: all@example.com".to_owned());

    let error = sender.send(&envelope).await.unwrap_err();

    assert!(refused(&error, Stage::Sender, "header_malformed"), "{error}");
    assert!(server.rest().is_empty(), "not even a connection");
}
