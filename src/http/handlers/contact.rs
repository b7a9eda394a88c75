//! Changing the address or number one signs in with.

use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::body::{self, CodeSentBody, User};
use super::{CODE, phone};
use crate::actors::accounts::{ChangeContact, ChangeContactOutcome, ConfirmContact, ConfirmContactOutcome, tidy_code};
use crate::actors::sessions::{Caller, FRESH};
use crate::domain::contact::Contact;
use crate::http::gate::{self, Gate};
use crate::http::openapi::{Access, Doc};
use crate::http::problem::{FieldError, Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};
use crate::tenant::TenantContext;

/// The rows of this file.
pub(super) fn routes() -> Routes<Gate> {
    use ProblemCode as P;
    Routes::new()
        .route(Method::POST, "/api/auth/contact/change", change)
        .limited(CODE)
        .describe(
            Doc::new("me", "Change the address or number one signs in with")
                .about("Sends a code to the new one; `confirm` takes it. Needs a sign-in of the last five minutes.")
                .access(Access::Token)
                .body::<ChangeBody>()
                .answer::<CodeSentBody>(200, "A code is on its way to the new one.")
                .problems(&[P::InvalidEmail, P::InvalidPhone, P::UserExists])
                .problems(&[P::InsufficientUserAuthentication, P::Forbidden, P::AccountBusy]),
        )
        .route(Method::POST, "/api/auth/contact/confirm", confirm)
        .limited(CODE)
        .describe(
            Doc::new("me", "Confirm the new address or number")
                .about("Ends every other session.")
                .access(Access::Token)
                .body::<ConfirmBody>()
                .answer::<ContactChanged>(200, "Changed.")
                .problems(&[P::InvalidEmail, P::InvalidPhone, P::UserExists, P::InvalidCode, P::CodeExpired])
                .problems(&[P::AccountDisabled, P::Forbidden, P::AccountBusy]),
        )
}

/// One of the two.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NewContact")]
struct ChangeBody {
    email: Option<String>,
    phone: Option<String>,
}

/// The new contact, canonical.
fn contact(email: Option<&str>, phone: Option<&str>, tenant: &TenantContext) -> Result<Contact, Problem> {
    match (email, phone) {
        (Some(email), None) => Ok(Contact::Email(body::email(email)?)),
        (None, Some(phone)) => Ok(Contact::Phone(body::phone(phone, tenant)?)),
        (None, None) => Err(refused("", "missing", "Either `email` or `phone` is required.")),
        (Some(_), Some(_)) => Err(refused("", "invalid", "Only one of `email` and `phone`, please.")),
    }
}

fn refused(pointer: &'static str, code: &'static str, message: &'static str) -> Problem {
    Problem::validation(vec![FieldError::new(pointer, code, message)])
}

/// `POST /api/auth/contact/change`: 200 and a code on its way to the new contact, the same whoever has
/// it (400 `user_exists` where the policy tells); needs a sign-in of the last five minutes; 429.
async fn change(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let locale = gate::client(&request, &tenant).locale;
    let caller = gate.caller(&tenant, &request).await?;
    if !caller.is_fresh(gate.clock.now()) {
        return Err(Problem::step_up(FRESH));
    }
    let body: ChangeBody = request.json().await?;
    let contact = contact(body.email.as_deref(), body.phone.as_deref(), &tenant)?;
    if is_own(&caller, &contact) {
        let pointer = if body.email.is_some() { "/email" } else { "/phone" };
        return Err(refused(pointer, "unchanged", "This is yours already."));
    }
    let locale = locale.or(caller.account.locale);

    match gate.accounts.change_contact(ChangeContact { tenant, account: caller.account.id, contact, locale }).await? {
        ChangeContactOutcome::Sent { life, cooldown } => Ok(body::code_sent(life, cooldown)),
        ChangeContactOutcome::Wait { wait } => Err(Problem::too_soon(wait)),
        ChangeContactOutcome::Exists => Err(ProblemCode::UserExists.into()),
    }
}

/// Proven already.
fn is_own(caller: &Caller, contact: &Contact) -> bool {
    match contact {
        Contact::Email(email) => {
            caller.account.email_verified_at.is_some() && caller.account.email.as_ref() == Some(email)
        }
        Contact::Phone(phone) => caller.account.phone.as_ref() == Some(phone),
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ContactConfirmation")]
struct ConfirmBody {
    email: Option<String>,
    phone: Option<String>,
    /// As sent; a string, since it may begin with zeros.
    code: String,
}

/// The person as they are now.
#[derive(Serialize, JsonSchema)]
struct ContactChanged {
    message: &'static str,
    user: User,
}

/// `POST /api/auth/contact/confirm`: 200 with the person as they are now, and every other session ends;
/// 400 `invalid_code` or `code_expired`.
async fn confirm(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let caller = gate.caller(&tenant, &request).await?;
    let body: ConfirmBody = request.json().await?;
    let ask = ConfirmContact {
        contact: contact(body.email.as_deref(), body.phone.as_deref(), &tenant)?,
        tenant,
        account: caller.account.id,
        session: caller.session.id,
        code: tidy_code(&body.code).into(),
    };

    match gate.accounts.confirm_contact(ask).await? {
        ConfirmContactOutcome::Changed(account) => {
            let body = ContactChanged { message: "Contact changed.", user: User::from(&*account) };
            Ok(Reply::json(StatusCode::OK, &body).no_store())
        }
        ConfirmContactOutcome::Refused(refusal) => Err(phone::refused(&refusal)),
        ConfirmContactOutcome::Exists => Err(ProblemCode::UserExists.into()),
    }
}
