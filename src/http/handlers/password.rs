//! Forgotten, reset and changed passwords.

use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::body::{self, MessageBody};
use super::registration::{dead_link, link_request, link_token, locale};
use super::{API, CODE, LOGIN};
use crate::actors::accounts::{
    ChangePassword, ChangePasswordOutcome, LinkRequestOutcome, ResetPassword, ResetPasswordOutcome,
};
use crate::domain::locale::Locale;
use crate::domain::password::{PasswordProblem, normalise};
use crate::http::gate::{self, Gate};
use crate::http::openapi::{Access, Doc};
use crate::http::page::{self, ResetForm};
use crate::http::problem::{Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::tenant::TenantContext;

const FORM: &str = "/api/auth/password/reset/{token}";

/// The rows of this file.
pub(super) fn routes() -> Routes<Gate> {
    use ProblemCode as P;
    Routes::new()
        .route(Method::POST, "/api/auth/password/forgot", forgot)
        .limited(CODE)
        .describe(
            Doc::new("password", "Have a link mailed that sets a new password")
                .body::<ForgotBody>()
                .answer::<MessageBody<'static>>(200, "The same whether there is such an account.")
                .problems(&[P::InvalidEmail, P::AccountBusy]),
        )
        .route(Method::POST, "/api/auth/password/reset", reset)
        .limited(LOGIN)
        .describe(
            Doc::new("password", "Set a new password by the mailed link")
                .about("Ends every session and any lock.")
                .body::<ResetBody>()
                .answer::<MessageBody<'static>>(200, "Set.")
                .problems(&[P::InvalidLink, P::AccountBusy]),
        )
        .route(Method::GET, FORM, reset_page)
        .limited(API)
        .describe(
            Doc::new("password", "The page behind the mailed link")
                .about("Changes nothing.")
                .page(200)
                .page(400)
                .problems(&[P::InvalidLink]),
        )
        .route(Method::POST, FORM, reset_by_form)
        .limited(LOGIN)
        .describe(Doc::new("password", "What that page posts").form::<NewPassword>().page(200).page(400).problems(&[
            P::InvalidLink,
            P::InvalidRequest,
            P::AccountBusy,
        ]))
        .route(Method::POST, "/api/auth/password/change", change)
        .limited(LOGIN)
        .describe(
            Doc::new("password", "Change the password")
                .about("Ends every other session. A wrong current password counts like a failed log-in.")
                .access(Access::Token)
                .body::<ChangeBody>()
                .answer::<MessageBody<'static>>(200, "Changed.")
                .problems(&[P::InvalidCredentials, P::AccountLocked, P::Forbidden, P::AccountBusy]),
        )
}

/// What a page with a password's field posts.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "forms are read member by member")]
pub(super) struct NewPassword {
    password: String,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ForgottenPassword")]
struct ForgotBody {
    email: String,
}

/// `POST /api/auth/password/forgot`: 200, the same whether there is such an account; 429.
async fn forgot(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let body: ForgotBody = request.json().await?;
    let ask = link_request(tenant, &request, &body.email)?;

    match gate.accounts.forgot_password(ask).await? {
        LinkRequestOutcome::Accepted => Ok(body::message(
            StatusCode::OK,
            "If this address has an account, a link to set a new password is on its way.",
        )),
        LinkRequestOutcome::Wait { wait } => Err(Problem::too_soon(wait)),
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "PasswordReset")]
struct ResetBody {
    /// From the mailed link.
    #[schemars(with = "String")]
    token: SecretString,
    #[schemars(with = "String")]
    #[serde(alias = "new_password", alias = "newPassword")]
    password: SecretString,
}

/// `POST /api/auth/password/reset`: 200; 400 `invalid_link`, or `validation` with the link unspent.
async fn reset(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let body: ResetBody = request.json().await?;
    let password = body::password(body.password.expose_secret(), "/password")?;

    match gate.accounts.reset_password(ResetPassword { tenant, token: body.token, password }).await? {
        ResetPasswordOutcome::Done => Ok(body::message(StatusCode::OK, "Password changed. You can log in now.")),
        ResetPasswordOutcome::Invalid => Err(ProblemCode::InvalidLink.into()),
        ResetPasswordOutcome::Password(problem) => {
            Err(Problem::validation(vec![body::password_error(problem, "/password")]))
        }
    }
}

/// A mailed link whose page asks for a new password.
#[derive(Clone, Copy)]
pub(super) enum PasswordLink {
    Reset,
    Invitation,
}

impl PasswordLink {
    /// The page it opens; it changes nothing.
    pub(super) async fn open(self, gate: &Gate, request: &Request) -> Answer {
        let tenant = gate::tenant(request)?;
        let token = link_token(request);
        let is_live = match self {
            Self::Reset => gate.accounts.reset_is_live(&tenant, &token).await?,
            Self::Invitation => gate.accounts.invitation_is_live(&tenant, &token).await?,
        };
        if !is_live {
            return dead_link(&tenant, request);
        }
        Ok(Reply::html(StatusCode::OK, form(&tenant, locale(&tenant, request), &token, None)).no_store())
    }

    /// What that page posts.
    pub(super) async fn follow(self, gate: &Gate, mut request: Request) -> Answer {
        let tenant = gate::tenant(&request)?;
        let (token, locale) = (link_token(&request), locale(&tenant, &request));
        let posted = request.form().await?;
        let again = |problem| {
            let page = form(&tenant, locale, &token, Some(&refusal(problem, locale)));
            Ok(Reply::html(StatusCode::BAD_REQUEST, page).no_store())
        };
        let password = match normalise(posted.get("password").unwrap_or_default()) {
            Ok(password) => password.into(),
            Err(problem) => return again(problem),
        };
        let ask = ResetPassword { tenant: tenant.clone(), token: token.clone(), password };
        let outcome = match self {
            Self::Reset => gate.accounts.reset_password(ask).await?,
            Self::Invitation => gate.accounts.accept_invitation(ask).await?,
        };

        match outcome {
            ResetPasswordOutcome::Invalid => dead_link(&tenant, &request),
            ResetPasswordOutcome::Password(problem) => again(problem),
            ResetPasswordOutcome::Done => Ok(Reply::html(StatusCode::OK, self.done(locale)).no_store()),
        }
    }

    fn done(self, locale: Locale) -> String {
        let title = match (self, locale) {
            (Self::Reset, Locale::En) => "Password changed",
            (Self::Reset, Locale::Fr) => "Mot de passe modifié",
            (Self::Invitation, Locale::En) => "Welcome",
            (Self::Invitation, Locale::Fr) => "Bienvenue",
        };
        let words = match locale {
            Locale::En => "You can sign in now.",
            Locale::Fr => "Vous pouvez vous connecter.",
        };
        page::notice(locale, title, words)
    }
}

/// `GET /api/auth/password/reset/{token}`.
async fn reset_page(gate: Arc<Gate>, request: Request) -> Answer {
    PasswordLink::Reset.open(&gate, &request).await
}

/// `POST /api/auth/password/reset/{token}`.
async fn reset_by_form(gate: Arc<Gate>, request: Request) -> Answer {
    PasswordLink::Reset.follow(&gate, request).await
}

fn form(tenant: &TenantContext, locale: Locale, token: &SecretString, refusal: Option<&str>) -> String {
    let (title, action_label) = match locale {
        Locale::En => ("New password", "Save"),
        Locale::Fr => ("Nouveau mot de passe", "Enregistrer"),
    };
    let min_length = tenant.policy().password.min_length;
    let words = ResetForm { title, password_label: title, action_label, min_length, refusal };
    page::reset_form(locale, words, token.expose_secret())
}

/// Why a password was refused, for the person at the page.
fn refusal(problem: PasswordProblem, locale: Locale) -> String {
    match (problem, locale) {
        (PasswordProblem::TooShort { min }, Locale::En) => format!("At least {min} characters, please."),
        (PasswordProblem::TooShort { min }, Locale::Fr) => format!("Au moins {min} caractères, s'il vous plaît."),
        (PasswordProblem::TooLong { max }, Locale::En) => format!("At most {max} characters, please."),
        (PasswordProblem::TooLong { max }, Locale::Fr) => format!("Au plus {max} caractères, s'il vous plaît."),
        (PasswordProblem::TooCommon, Locale::En) => "This password is too easy to guess.".to_owned(),
        (PasswordProblem::TooCommon, Locale::Fr) => "Ce mot de passe est trop facile à deviner.".to_owned(),
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "PasswordChange")]
struct ChangeBody {
    #[schemars(with = "String")]
    #[serde(alias = "currentPassword")]
    current_password: SecretString,
    #[schemars(with = "String")]
    #[serde(alias = "newPassword")]
    new_password: SecretString,
}

/// `POST /api/auth/password/change`: 200, and every other session ends; 400 `invalid_credentials`
/// counts like a failed log-in.
async fn change(gate: Arc<Gate>, mut request: Request) -> Answer {
    let tenant = gate::tenant(&request)?;
    let client = gate::client(&request, &tenant);
    let caller = gate.caller(&tenant, &request).await?;
    let body: ChangeBody = request.json().await?;
    let ask = ChangePassword {
        tenant,
        account: caller.account.id,
        session: caller.session.id,
        current: body::password(body.current_password.expose_secret(), "/current_password")?,
        new: body::password(body.new_password.expose_secret(), "/new_password")?,
        client,
        deadline: gate.accounts.deadline(),
    };

    match gate.accounts.change_password(ask).await? {
        ChangePasswordOutcome::Done => Ok(body::message(StatusCode::OK, "Password changed.")),
        ChangePasswordOutcome::Refused => Err(ProblemCode::InvalidCredentials.into()),
        ChangePasswordOutcome::Locked => Err(ProblemCode::AccountLocked.into()),
        ChangePasswordOutcome::Password(problem) => {
            Err(Problem::validation(vec![body::password_error(problem, "/new_password")]))
        }
    }
}
