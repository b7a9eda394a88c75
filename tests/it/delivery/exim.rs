//! SMTP against Debian's own mail transfer agent: a private Exim with `STARTTLS` and `AUTH` that
//! queues what it takes.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use guichet::clock::Clock;
use guichet::delivery::outbound::Guard;
use guichet::delivery::smtp::{Security, SmtpLogin, SmtpSender, SmtpSettings};
use guichet::delivery::{DeliveryError, Receipt, Sender, Stage};

use super::certificate::Certificate;
use super::smtp::{mail_to, parsed};

/// Longest wait for it to listen. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whom it runs as when the tests run as root, which it refuses to deliver as.
const NOBODY: u32 = 65_534;

/// A running Exim in a folder of its own; it ends with this value.
struct Exim {
    certificate: Certificate,
    child: Child,
    starttls: u16,
    wrapper: u16,
}

impl Exim {
    async fn start() -> Self {
        let certificate = Certificate::new();
        let folder = certificate.path("");
        // Without the set-user-id bit, so that it stays who it is and ends with the test.
        let original = Path::new("/usr/sbin/exim4");
        assert!(original.exists(), "these tests need a real mail server: apt-get install exim4-daemon-light");
        fs::copy(original, folder.join("exim")).unwrap();
        let mode = Command::new("chmod").args(["755", "."]).arg("exim").current_dir(&folder).status();
        assert!(mode.is_ok_and(|status| status.success()));
        // Another program may take a port before Exim does.
        for _ in 0..3 {
            let (starttls, wrapper) = (free_port(), free_port());
            let user = configure(&folder, starttls, wrapper);
            let mut child = Command::new("setpriv")
                .args(privileges(user))
                .arg(folder.join("exim"))
                .arg("-C")
                .arg(folder.join("conf"))
                .arg("-bdf")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("setpriv starts");
            let deadline = Instant::now() + PATIENCE;
            while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
                if [starttls, wrapper].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
                    return Self { certificate, child, starttls, wrapper };
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("Exim does not start");
    }

    fn settings(&self, security: Security, password: Option<&str>) -> SmtpSettings {
        SmtpSettings {
            host: "localhost".to_owned(),
            port: if security == Security::Tls { self.wrapper } else { self.starttls },
            security,
            login: password.map(|password| SmtpLogin { username: "tenant".to_owned(), password: password.into() }),
            from: "Crédit façade <noreply@example.org>".to_owned(),
            reply_to: None,
            timeout: Duration::from_secs(15),
            extra_roots: Some(self.certificate.pem()),
        }
    }

    /// The messages in its queue, oldest first, as they would go on.
    fn queue(&self) -> Vec<String> {
        let folder = self.certificate.path("");
        // It makes the folder for the first one.
        let mut ids: Vec<_> = fs::read_dir(folder.join("spool/input"))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix("-H").map(str::to_owned))
            .collect();
        ids.sort();
        let read = |id: &String| {
            let mut command = Command::new("setpriv");
            command.args(privileges(fs::metadata(folder.join("spool")).unwrap().uid()));
            command.arg(folder.join("exim")).arg("-C").arg(folder.join("conf")).args(["-Mvc", id]);
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        ids.iter().map(read).collect()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// `setpriv`'s arguments: as that user, and no longer than the thread that starts it.
fn privileges(user: u32) -> Vec<String> {
    let mut arguments = vec!["--pdeathsig=TERM".to_owned()];
    if user == NOBODY {
        arguments.extend([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()]);
    }
    arguments
}

/// Writes its configuration; returns whom it runs as.
fn configure(folder: &Path, starttls: u16, wrapper: u16) -> u32 {
    let own = fs::metadata(folder).unwrap();
    // Left from a try before, it is nobody's already.
    let (user, group) = if own.uid() == 0 || own.uid() == NOBODY { (NOBODY, NOBODY) } else { (own.uid(), own.gid()) };
    let at = |name: &str| folder.join(name).display().to_string();
    let configuration = format!(
        "exim_user = {user}\nexim_group = {group}\n\
         spool_directory = {}\nlog_file_path = {}/%slog\npid_file_path = {}\n\
         local_interfaces = 127.0.0.1\ndaemon_smtp_ports = {starttls} : {wrapper}\ntls_on_connect_ports = {wrapper}\n\
         primary_hostname = localhost\nkeep_environment =\nqueue_only = true\n\
         tls_advertise_hosts = *\ntls_certificate = {}\ntls_privatekey = {}\n\
         auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}\nsmtputf8_advertise_hosts = *\n\
         acl_smtp_mail = acl_mail\nacl_smtp_rcpt = acl_rcpt\n\
         begin acl\n\
         acl_mail:\n  require authenticated = *\n  accept\n\
         acl_rcpt:\n  deny recipients = nobody@example.com\n  defer recipients = later@example.com\n  accept\n\
         begin authenticators\n\
         plain:\n  driver = plaintext\n  public_name = PLAIN\n  server_prompts = :\n  server_set_id = $auth2\n  \
         server_condition = ${{if and{{{{eq{{$auth2}}{{tenant}}}}{{eq{{$auth3}}{{s3cret}}}}}}}}\n",
        at("spool"),
        at("log"),
        at("pid"),
        at("cert.pem"),
        at("key.pem"),
    );
    fs::write(folder.join("conf"), configuration).unwrap();
    for name in ["spool", "log"] {
        let _ = fs::create_dir(folder.join(name));
    }
    if own.uid() == 0 {
        for name in ["spool", "log", "conf", "cert.pem", "key.pem"] {
            chown(folder.join(name), Some(user), Some(group)).unwrap();
        }
    }
    user
}

async fn send(settings: SmtpSettings, to: &str) -> Result<Receipt, DeliveryError> {
    let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap()]);
    SmtpSender::new(settings, Clock::system(), guard).unwrap().send(&mail_to(to)).await
}

#[tokio::test]
async fn a_real_mta_takes_our_mail_under_tls_and_auth_and_reads_it_as_it_was_written() {
    let exim = Exim::start().await;
    for security in [Security::StartTls, Security::Tls] {
        let receipt = send(exim.settings(security, Some("s3cret")), "awa@example.com").await.unwrap();

        let queue = exim.queue();
        let mail = queue.last().unwrap();
        let expected = mail_to("awa@example.com").rendered;
        let parts = parsed(mail);
        assert_eq!(parts["defects"], serde_json::json!([]));
        assert_eq!(parts["headers"]["subject"].as_str(), expected.subject.as_deref());
        assert_eq!(parts["headers"]["from"], "Crédit façade <noreply@example.org>");
        assert_eq!(parts["headers"]["auto-submitted"], "auto-generated");
        assert_eq!(parts["headers"]["message-id"].as_str(), receipt.reference.as_deref());
        assert_eq!(parts["plain"].as_str().unwrap().replace("\r\n", "\n").trim_end(), expected.text);
        let received = parts["headers"]["received"].as_str().unwrap();
        assert!(received.contains("esmtpsa"), "encrypted and authenticated: {received}");
        let subject = mail.lines().find(|line| line.starts_with("Subject: ")).unwrap();
        assert!(subject.is_ascii() && subject.contains("=?utf-8?"), "RFC 2047: {subject}");
    }
    assert_eq!(exim.queue().len(), 2, "one mail each");
}

#[tokio::test]
async fn a_real_mtas_refusals_name_their_stage() {
    let exim = Exim::start().await;
    let refused = |stage, code: &str, outcome: Result<Receipt, DeliveryError>| {
        let error = outcome.unwrap_err();
        let told =
            matches!(&error, DeliveryError::Refused { stage: at, reason } if *at == stage && reason.as_str() == code);
        assert!(told, "{error}");
    };
    let good = || exim.settings(Security::StartTls, Some("s3cret"));

    refused(Stage::Auth, "535", send(exim.settings(Security::StartTls, Some("wrong")), "awa@example.com").await);
    refused(Stage::Sender, "550", send(exim.settings(Security::StartTls, None), "awa@example.com").await);
    refused(Stage::Recipient, "550", send(good(), "nobody@example.com").await);
    let clear = SmtpSettings { security: Security::None, ..good() };
    refused(Stage::Auth, "auth_not_offered", send(clear, "awa@example.com").await);
    let error = send(good(), "later@example.com").await.unwrap_err();
    assert!(matches!(error, DeliveryError::Temporary { stage: Stage::Recipient, .. }), "{error}");
    let stranger = SmtpSettings { extra_roots: None, ..good() };
    let error = send(stranger, "awa@example.com").await.unwrap_err();
    assert!(matches!(error, DeliveryError::Temporary { stage: Stage::Tls, .. }), "{error}");
    assert!(exim.queue().is_empty(), "nothing was queued");
}
