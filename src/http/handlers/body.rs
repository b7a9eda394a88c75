//! From the members of a request to the types that the rest of the house trusts.
//!
//! Members of the right type are all judged before anything is answered, so that a person whose name
//! and address are both wrong reads of both.

use std::time::Duration;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::actors::accounts::{Client, SignedIn};
use crate::actors::sessions::Device;
use crate::domain::account::Account;
use crate::domain::app::FIRST_PARTY;
use crate::domain::contact::{EmailAddress, PhoneNumber};
use crate::domain::device::{DeviceKind, TRUST_LIFE};
use crate::domain::ids::{AppId, DeviceId};
use crate::domain::password::{self, PasswordProblem};
use crate::domain::time::seconds_rounded_up;
use crate::http::gate::{self, device_cookie, token_cookie};
use crate::http::problem::{FieldError, Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::secret::{ExposeSecret as _, SecretString};
use crate::tenant::TenantContext;

/// A member of a change that cannot be taken back: absent it stays as it is, `null` has the wrong type.
///
/// # Errors
/// Those of the member's own type.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(member: D) -> Result<Option<T>, D::Error> {
    T::deserialize(member).map(Some)
}

/// A number as typed, in the tenant's region.
///
/// # Errors
/// `invalid_phone`.
pub fn phone(typed: &str, tenant: &TenantContext) -> Result<PhoneNumber, Problem> {
    PhoneNumber::parse(typed, tenant.policy().region).map_err(|_| ProblemCode::InvalidPhone.into())
}

/// An address as typed.
///
/// # Errors
/// `invalid_email`.
pub fn email(typed: &str) -> Result<EmailAddress, Problem> {
    EmailAddress::parse(typed).map_err(|_| ProblemCode::InvalidEmail.into())
}

/// A password as typed, normalised; too long a one is refused before anything is hashed.
///
/// # Errors
/// `validation`.
pub fn password(typed: &str, pointer: &'static str) -> Result<SecretString, Problem> {
    match password::normalise(typed) {
        Ok(normal) => Ok(normal.into()),
        Err(problem) => Err(Problem::validation(vec![password_error(problem, pointer)])),
    }
}

/// How a broken password rule is told.
#[must_use]
pub fn password_error(problem: PasswordProblem, pointer: &'static str) -> FieldError {
    match problem {
        PasswordProblem::TooShort { min } => {
            FieldError::new(pointer, "too_short", format!("The password needs at least {min} characters."))
        }
        PasswordProblem::TooLong { max } => {
            FieldError::new(pointer, "too_long", format!("The password may have at most {max} characters."))
        }
        PasswordProblem::TooCommon => {
            FieldError::new(pointer, "too_common", "This password is too easy to guess; choose a less common one.")
        }
    }
}

/// A name as typed: trimmed, 1 to 100 printable characters.
///
/// # Errors
/// The member's problem.
pub fn name(typed: &str, pointer: &'static str) -> Result<String, FieldError> {
    const LONGEST: usize = 100;
    let name = typed.trim();
    if name.is_empty() {
        Err(FieldError::new(pointer, "missing", "This member is required."))
    } else if name.chars().count() > LONGEST {
        Err(FieldError::new(pointer, "too_long", format!("At most {LONGEST} characters.")))
    } else if name.chars().any(char::is_control) {
        Err(FieldError::new(pointer, "invalid", "Control characters are not allowed."))
    } else {
        Ok(name.to_owned())
    }
}

/// The app that the body names; none if it is the tenant itself.
///
/// # Errors
/// `unknown_client`.
pub fn app(named: Option<&str>, tenant: &TenantContext) -> Result<Option<AppId>, Problem> {
    match named {
        None | Some(FIRST_PARTY) => Ok(None),
        Some(named) => {
            let known = named.parse().ok().and_then(|id| tenant.app(id));
            known.map(|app| Some(app.id)).ok_or_else(|| ProblemCode::UnknownClient.into())
        }
    }
}

/// What the request tells of its client, and the app that the body names.
///
/// # Errors
/// `unknown_client`.
pub fn client(request: &Request, tenant: &TenantContext, named: Option<&str>) -> Result<Client, Problem> {
    Ok(Client { app: app(named, tenant)?, ..gate::client(request, tenant) })
}

/// The answer to a code that was sent: good for `life`, the next to be had after `cooldown`.
#[must_use]
pub fn code_sent(life: Duration, cooldown: Duration) -> Reply {
    let body = CodeSentBody {
        message: "Code sent",
        expires_in: seconds_rounded_up(life),
        resend_in: seconds_rounded_up(cooldown),
    };
    Reply::json(StatusCode::OK, &body).no_store()
}

/// A trusted device.
#[derive(Serialize, JsonSchema)]
pub struct DeviceView {
    #[schemars(with = "String")]
    id: DeviceId,
    /// `token` or `user_agent`.
    #[schemars(with = "String")]
    kind: DeviceKind,
    user_agent: Option<String>,
    created_at: String,
    last_seen_at: String,
}

impl From<Device> for DeviceView {
    fn from(device: Device) -> Self {
        Self {
            id: device.known.id,
            kind: device.known.kind,
            user_agent: device.label,
            created_at: device.created_at.to_rfc3339(),
            last_seen_at: device.known.last_seen_at.to_rfc3339(),
        }
    }
}

/// A person as the two original APIs show one: each route as its own API does, whatever else the account
/// has; elsewhere by the address, if there is one.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum User {
    /// As the API of e-mail and password shows one.
    Email {
        /// A string, equal to the token's `sub`.
        id: String,
        /// As registered.
        username: Option<String>,
        /// Canonical.
        email: String,
        /// As given, or the proven number.
        #[serde(rename = "phoneNumber")]
        phone_number: Option<String>,
    },
    /// As the API of codes by SMS shows one.
    Phone {
        /// A string, equal to the token's `sub`.
        id: String,
        /// E.164.
        phone: Option<String>,
        /// As registered.
        first_name: Option<String>,
        /// As registered.
        last_name: Option<String>,
    },
}

impl User {
    /// For the clients of the API of codes by SMS.
    fn by_phone(account: &Account) -> Self {
        Self::Phone {
            id: account.id.to_string(),
            phone: account.phone.as_ref().map(|number| number.as_str().to_owned()),
            first_name: account.first_name.clone(),
            last_name: account.last_name.clone(),
        }
    }
}

impl From<&Account> for User {
    fn from(account: &Account) -> Self {
        let Some(email) = &account.email else { return Self::by_phone(account) };
        let phone = account.phone.as_ref().map(|number| number.as_str().to_owned());
        Self::Email {
            id: account.id.to_string(),
            username: account.username.clone(),
            email: email.as_str().to_owned(),
            phone_number: phone.or_else(|| account.phone_as_given.clone()),
        }
    }
}

/// A completed sign-in.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SignedIn")]
pub struct SignedInBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    /// An access token: a JWT (RFC 9068).
    token: &'a str,
    /// Good once, for the next pair.
    refresh_token: &'a str,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds the access token lives.
    expires_in: u64,
    /// To be shown as `X-Device-Id` by apps without a cookie jar, if this device is trusted from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<&'a str>,
    user: User,
}

/// A code is on its way.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CodeSent")]
pub struct CodeSentBody {
    message: &'static str,
    /// Seconds the code is good for.
    expires_in: u64,
    /// Seconds until another may be asked for.
    resend_in: u64,
}

/// Something to tell a person, and nothing else.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Message")]
pub struct MessageBody<'a> {
    message: &'a str,
}

/// The answer to a completed sign-in by address; a newly trusted device gets its cookie too.
#[must_use]
pub fn signed_in(tenant: &TenantContext, entry: &SignedIn, message: &'static str) -> Reply {
    entered(StatusCode::OK, tenant, entry, User::from(&entry.account), Some(message))
}

/// The answer to a completed sign-in by number, likewise.
#[must_use]
pub fn signed_in_by_phone(status: StatusCode, tenant: &TenantContext, entry: &SignedIn) -> Reply {
    entered(status, tenant, entry, User::by_phone(&entry.account), None)
}

fn entered(
    status: StatusCode,
    tenant: &TenantContext,
    entry: &SignedIn,
    user: User,
    message: Option<&'static str>,
) -> Reply {
    let body = SignedInBody {
        message,
        token: entry.token.expose_secret(),
        refresh_token: entry.refresh_token.expose_secret(),
        token_type: "Bearer",
        expires_in: entry.expires_in,
        device_token: entry.device_token.as_ref().map(SecretString::expose_secret),
        user,
    };
    let reply = with_device(Reply::json(status, &body).no_store(), tenant, entry.device_token.as_ref());
    with_token(reply, tenant, entry.token.expose_secret(), entry.expires_in)
}

/// Puts the access token into the browser's jar, where the tenant has it so.
#[must_use]
pub fn with_token(reply: Reply, tenant: &TenantContext, token: &str, expires_in: u64) -> Reply {
    if !tenant.policy().tokens.cookie {
        return reply;
    }
    let life = i64::try_from(expires_in).unwrap_or(i64::MAX);
    let cookie = cookie::Cookie::build((token_cookie(tenant), token.to_owned()))
        .path("/")
        .http_only(true)
        .secure(tenant.is_https())
        .same_site(cookie::SameSite::Lax)
        .max_age(cookie::time::Duration::seconds(life))
        .build();
    reply.with_cookie(&cookie)
}

/// Takes it out again: with the same attributes, or the browser keeps it.
#[must_use]
pub fn without_token(reply: Reply, tenant: &TenantContext) -> Reply {
    with_token(reply, tenant, "", 0)
}

/// Puts a new device token into the browser's jar.
#[must_use]
pub fn with_device(reply: Reply, tenant: &TenantContext, token: Option<&SecretString>) -> Reply {
    let Some(token) = token else { return reply };
    let cookie = cookie::Cookie::build((device_cookie(tenant), token.expose_secret().to_owned()))
        .path("/")
        .http_only(true)
        .secure(tenant.is_https())
        .same_site(cookie::SameSite::Lax)
        .max_age(cookie::time::Duration::try_from(TRUST_LIFE).unwrap_or_default())
        .build();
    reply.with_cookie(&cookie)
}

/// `{"message": …}` and nothing else.
#[must_use]
pub fn message(status: StatusCode, text: &str) -> Reply {
    Reply::json(status, &MessageBody { message: text }).no_store()
}
