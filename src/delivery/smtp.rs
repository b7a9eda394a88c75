//! Sends mail over SMTP (RFC 5321), the way a tenant's settings say and no weaker.
//!
//! ```text
//!  resolve ─► connect ─► tls ─► auth ─► sender ─► recipient ─► the message ─► accepted
//!     └────────── a failure here: certainly not sent ────────────┘   └ silence here: nobody knows
//! ```
//!
//! The conversation is driven step by step on lettre's connection rather than through its
//! transport, for three promises: every step lies inside one deadline (lettre's covers connecting
//! only), a failure names its stage, and silence after the message was handed over is told from
//! every other silence. Encryption is required or off, never opportunistic (ASVS 12.3.1).

use std::future::Future;
use std::io::ErrorKind;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lettre::Address;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use tokio::time::{Instant, timeout, timeout_at};

use super::outbound::{Guard, Refusal, Target, Transport};
use super::{DeliveryError, Envelope, Reason, Receipt, Sender, Stage};
use crate::clock::Clock;
use crate::domain::time::Timestamp;
use crate::secret::{ExposeSecret, SecretString};

mod mail;

use mail::{Composed, Writer};

/// How long a send may take when the settings do not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// Connections kept open between mails.
const MAX_PARKED: usize = 4;

/// How long one is worth keeping; most servers hang up after one to five minutes.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// Steps that may hang before the message is offered get this fraction of the deadline, so that
/// a dead address or a dead parked connection leaves time for a live one.
const PATIENCE_DIVISOR: u32 = 3;

/// The server is closing the channel (RFC 5321 §4.2.3).
const SERVICE_CLOSING: u16 = 421;

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all. Only for hosts the operator allows.
    None,
    /// `STARTTLS`, required: a server that does not offer it gets nothing (RFC 3207).
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Tls,
}

/// Whom guichet is to the server.
#[derive(Debug, Clone)]
pub struct SmtpLogin {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: SecretString,
}

/// One SMTP server and the sender it is used as.
#[derive(Debug, Clone)]
pub struct SmtpSettings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Encryption.
    pub security: Security,
    /// Credentials, if the server wants any.
    pub login: Option<SmtpLogin>,
    /// `From`: an address, or `Name <address>`.
    pub from: String,
    /// `Reply-To`, likewise.
    pub reply_to: Option<String>,
    /// Limit of one whole send; [`DEFAULT_TIMEOUT`] unless set.
    pub timeout: Duration,
    /// Certificates trusted besides the system's, in PEM.
    pub extra_roots: Option<Vec<u8>>,
}

/// Which setting to correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SmtpSettingsError {
    /// `host`, `port` or `security` is refused without asking anybody.
    #[error("`host`, `port` or `security`: {0}")]
    Host(Refusal),
    /// `from` is no mailbox.
    #[error("`from` is not a mail address")]
    From,
    /// `reply_to` is no mailbox.
    #[error("`reply_to` is not a mail address")]
    ReplyTo,
    /// The extra certificates cannot be read.
    #[error("the extra root certificates are not PEM")]
    ExtraRoots,
    /// No TLS set-up could be made.
    #[error("TLS cannot be set up")]
    Tls,
}

/// Sends mail through one server, keeping a few connections open.
pub struct SmtpSender {
    settings: SmtpSettings,
    tls: Option<TlsParameters>,
    writer: Writer,
    guard: Guard,
    target: Target,
    clock: Clock,
    parked: Mutex<Vec<Parked>>,
}

struct Parked {
    connection: AsyncSmtpConnection,
    since: Timestamp,
}

impl std::fmt::Debug for SmtpSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SmtpSender(…)")
    }
}

impl SmtpSender {
    /// A sender for these settings; nothing is connected yet. Reads the system's certificates from
    /// disk if encryption is on, so make one per settings version, not per mail.
    ///
    /// # Errors
    /// [`SmtpSettingsError`] names the setting to correct.
    pub fn new(settings: SmtpSettings, clock: Clock, guard: Guard) -> Result<Self, SmtpSettingsError> {
        let transport = match settings.security {
            Security::None => Transport::SmtpPlain,
            Security::StartTls | Security::Tls => Transport::SmtpTls,
        };
        let target = guard.target(&settings.host, settings.port, transport).map_err(SmtpSettingsError::Host)?;
        let writer = Writer::new(&settings.from, settings.reply_to.as_deref())?;
        let tls = match settings.security {
            Security::None => None,
            Security::StartTls | Security::Tls => Some(tls_parameters(&settings, &target)?),
        };
        Ok(Self { settings, tls, writer, guard, target, clock, parked: Mutex::new(Vec::new()) })
    }

    /// A connection on which the server has accepted the sender's address: a parked one if it is
    /// still alive, else a fresh one. Nothing was accepted on a stale one, so no mail is doubled.
    async fn begin(&self, mail: &Composed, deadline: Instant) -> Result<AsyncSmtpConnection, DeliveryError> {
        if let Some(mut connection) = self.unpark() {
            let command = mail_command(mail, &connection)?;
            let patience = self.settings.timeout / PATIENCE_DIVISOR;
            match timeout(patience, connection.command(command)).await {
                Ok(Ok(_)) => return Ok(connection),
                Ok(Err(error)) if answered(&error) => return Err(classify(Stage::Sender, &error)),
                _ => {}
            }
        }
        let mut connection = self.connect(deadline).await?;
        let command = mail_command(mail, &connection)?;
        step(Stage::Sender, deadline, connection.command(command)).await?;
        Ok(connection)
    }

    async fn connect(&self, deadline: Instant) -> Result<AsyncSmtpConnection, DeliveryError> {
        let addresses = self.guard.resolve(&self.target, deadline).await?;
        let hello = ClientId::default();
        let wrapper = self.tls.clone().filter(|_| self.settings.security == Security::Tls);
        let patience = Some(self.settings.timeout / PATIENCE_DIVISOR);
        let connecting = AsyncSmtpConnection::connect_tokio1(addresses.as_slice(), patience, &hello, wrapper, None);
        let mut connection = match timeout_at(deadline, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) if failed_in_handshake(&error) => return Err(classify(Stage::Tls, &error)),
            Ok(Err(error)) => return Err(classify(Stage::Connect, &error)),
            Err(_) => return Err(DeliveryError::temporary(Stage::Connect, "time_out")),
        };
        if let (Security::StartTls, Some(tls)) = (self.settings.security, &self.tls) {
            if !connection.can_starttls() {
                return Err(DeliveryError::refused(Stage::Tls, "starttls_not_offered"));
            }
            step(Stage::Tls, deadline, connection.starttls(tls.clone(), &hello)).await?;
        }
        if let Some(login) = &self.settings.login {
            authenticate(&mut connection, login, deadline).await?;
        }
        Ok(connection)
    }

    fn unpark(&self) -> Option<AsyncSmtpConnection> {
        let now = self.clock.now();
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.retain(|one| now.since(one.since) < MAX_IDLE);
        parked.pop().map(|one| one.connection)
    }

    fn park(&self, connection: AsyncSmtpConnection) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if parked.len() < MAX_PARKED {
            parked.push(Parked { connection, since: self.clock.now() });
        }
    }
}

#[async_trait]
impl Sender for SmtpSender {
    async fn send(&self, envelope: &Envelope) -> Result<Receipt, DeliveryError> {
        let mail = self.writer.compose(envelope, self.clock.now())?;
        let deadline = Instant::now() + self.settings.timeout;
        let mut connection = self.begin(&mail, deadline).await?;
        step(Stage::Recipient, deadline, connection.command(Rcpt::new(mail.to.clone(), Vec::new()))).await?;
        step(Stage::Recipient, deadline, connection.command(Data)).await?;
        hand_over(&mut connection, &mail.bytes, deadline).await?;
        self.park(connection);
        Ok(Receipt { reference: Some(mail.message_id) })
    }
}

/// Sends the message itself. From here on only an answer tells what became of it.
async fn hand_over(
    connection: &mut AsyncSmtpConnection,
    message: &[u8],
    deadline: Instant,
) -> Result<(), DeliveryError> {
    match timeout_at(deadline, connection.message(message)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.status().is_some() => Err(classify(Stage::Recipient, &error)),
        Ok(Err(_)) => Err(DeliveryError::unknown("connection_lost")),
        Err(_) => Err(DeliveryError::unknown("time_out")),
    }
}

/// One step of the conversation before the message: whatever goes wrong, nothing was sent.
async fn step<T>(
    stage: Stage,
    deadline: Instant,
    work: impl Future<Output = Result<T, lettre::transport::smtp::Error>>,
) -> Result<T, DeliveryError> {
    match timeout_at(deadline, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(classify(stage, &error)),
        Err(_) => Err(DeliveryError::temporary(stage, "time_out")),
    }
}

async fn authenticate(
    connection: &mut AsyncSmtpConnection,
    login: &SmtpLogin,
    deadline: Instant,
) -> Result<(), DeliveryError> {
    let mechanisms = [Mechanism::Plain, Mechanism::Login];
    if connection.server_info().get_auth_mechanism(&mechanisms).is_none() {
        return Err(DeliveryError::refused(Stage::Auth, "auth_not_offered"));
    }
    let credentials = Credentials::new(login.username.clone(), login.password.expose_secret().to_owned());
    step(Stage::Auth, deadline, connection.auth(&mechanisms, &credentials)).await.map(|_| ())
}

/// `MAIL FROM`, with `SMTPUTF8` (RFC 6531) where an address needs it and the server knows it.
fn mail_command(mail: &Composed, connection: &AsyncSmtpConnection) -> Result<Mail, DeliveryError> {
    let mut parameters = Vec::new();
    if !mail.bytes.is_ascii() || !ascii(&mail.from) || !ascii(&mail.to) {
        let server = connection.server_info();
        if !server.supports_feature(Extension::SmtpUtfEight) || !server.supports_feature(Extension::EightBitMime) {
            return Err(DeliveryError::refused(Stage::Sender, "smtputf8_not_offered"));
        }
        parameters.push(MailParameter::SmtpUtfEight);
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(Mail::new(Some(mail.from.clone()), parameters))
}

fn ascii(address: &Address) -> bool {
    AsRef::<str>::as_ref(address).is_ascii()
}

fn tls_parameters(settings: &SmtpSettings, target: &Target) -> Result<TlsParameters, SmtpSettingsError> {
    let mut builder = TlsParameters::builder(target.certificate_name());
    if let Some(pem) = &settings.extra_roots {
        let certificate = Certificate::from_pem(pem).map_err(|_| SmtpSettingsError::ExtraRoots)?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|_| SmtpSettingsError::Tls)
}

/// What a failure before or at an answer means: the server's code decides, without one it is a
/// matter of the connection. The server's text is dropped: it often repeats the address.
fn classify(stage: Stage, error: &lettre::transport::smtp::Error) -> DeliveryError {
    if let Some(status) = error.status() {
        let reason = Reason::code(&u16::from(status).to_string());
        return if error.is_permanent() {
            DeliveryError::Refused { stage, reason }
        } else {
            DeliveryError::Temporary { stage, reason }
        };
    }
    let word = match stage {
        Stage::Connect => "connect_failed",
        Stage::Tls => "tls_failed",
        _ => "connection_lost",
    };
    DeliveryError::temporary(stage, word)
}

/// Did a living server answer, other than to say that it is hanging up?
fn answered(error: &lettre::transport::smtp::Error) -> bool {
    error.status().is_some_and(|status| u16::from(status) != SERVICE_CLOSING)
}

/// With TLS from the first byte, lettre reports dialling and handshake alike; the kind of the
/// I/O error tells them apart.
fn failed_in_handshake(error: &lettre::transport::smtp::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return matches!(io.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof);
        }
        source = error.source();
    }
    false
}
