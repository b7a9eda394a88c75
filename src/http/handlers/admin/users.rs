//! People of a tenant: finding, inviting, unlocking, disabling, exporting and erasing them.
//!
//! No route takes a password: an invitation and a reset are links that their owner follows.

use std::sync::Arc;

use http::header::LOCATION;
use http::{HeaderValue, Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::audit::EventView;
use super::messages::AttemptView;
use super::page::{self, Page};
use crate::actors::accounts::{InviteOutcome, StartResetOutcome};
use crate::actors::administration::people::{Details, Dossier, PeopleFilter, Person, Status};
use crate::domain::account::Account;
use crate::domain::contact::Contact;
use crate::domain::ids::{AccountId, DeviceId, SessionId};
use crate::domain::locale::Locale;
use crate::domain::lockout::Lane;
use crate::domain::role::Role;
use crate::domain::time::Timestamp;
use crate::http::desk::{Desk, Guarded as _, Visit};
use crate::http::handlers::body::{self, DeviceView};
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Problem, ProblemCode};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};

const LIST: &str = "/admin/v1/tenants/{slug}/users";
const ONE: &str = "/admin/v1/tenants/{slug}/users/{id}";
const EXPORT: &str = "/admin/v1/tenants/{slug}/users/{id}/export";
const UNLOCK: &str = "/admin/v1/tenants/{slug}/users/{id}/unlock";
const END_SESSIONS: &str = "/admin/v1/tenants/{slug}/users/{id}/end-sessions";
const DISABLE: &str = "/admin/v1/tenants/{slug}/users/{id}/disable";
const ENABLE: &str = "/admin/v1/tenants/{slug}/users/{id}/enable";
const RESET: &str = "/admin/v1/tenants/{slug}/users/{id}/reset";
const COMPROMISED: &str = "/admin/v1/tenants/{slug}/users/{id}/mark-compromised";

/// The rows of this file.
pub(super) fn routes() -> Routes<Desk> {
    use ProblemCode as P;
    Routes::new()
        .of_tenant(Role::TenantSupport, Method::GET, LIST, list)
        .describe(
            Doc::new("users", "People, newest first")
                .about("A page looks through 10,000 people at most, so one with few matches may be short, or empty, and still have a `next`.")
                .query("limit", page::LIMIT)
                .query("after", page::AFTER)
                .query("email", "Exactly this address, in any spelling.")
                .query("phone", "Exactly this number, in any spelling.")
                .query("q", "A part of the username, a name or the address: 2 to 100 characters, in any case.")
                .query("status", "`active`, `unverified`, `disabled` or `locked`.")
                .answer::<Page<PersonView>>(200, "A page of them.")
                .problems(&[P::Validation, P::InvalidEmail, P::InvalidPhone]),
        )
        .of_tenant(Role::TenantAdmin, Method::POST, LIST, invite)
        .describe(
            Doc::new("users", "Invite a person")
                .about("Mails a link with which the person chooses a password. Whoever did not follow an earlier one gets another, and the earlier is void.")
                .body::<NewPerson>()
                .answer::<Invited>(201, "The link is on its way; `Location` leads to the account.")
                .problems(&[P::InvalidEmail, P::UserExists, P::TooManyRequests]),
        )
        .of_tenant(Role::TenantSupport, Method::GET, ONE, show)
        .describe(Doc::new("users", "One person").answer::<DetailsView>(200, "They.").problems(&[P::NotFound]))
        .of_tenant(Role::TenantAdmin, Method::DELETE, ONE, erase)
        .describe(
            Doc::new("users", "Erase a person")
                .about("Everything kept about them but the audit log's ids, what was sent to them too; their tokens are refused from now on.")
                .empty(204, "Gone.")
                .problems(&[P::NotFound]),
        )
        .of_tenant(Role::TenantAdmin, Method::GET, EXPORT, export)
        .describe(
            Doc::new("users", "Everything kept about a person")
                .about("Without what would open anything: passwords, tokens and digests.")
                .answer::<ExportView>(200, "One document.")
                .problems(&[P::NotFound]),
        )
        .of_tenant(Role::TenantSupport, Method::POST, UNLOCK, unlock)
        .describe(Doc::new("users", "End every lock").empty(204, "Nothing is counted any more.").problems(&[P::NotFound]))
        .of_tenant(Role::TenantSupport, Method::POST, END_SESSIONS, end_sessions)
        .describe(Doc::new("users", "End every session").empty(204, "Ended on every node.").problems(&[P::NotFound]))
        .of_tenant(Role::TenantAdmin, Method::POST, DISABLE, disable)
        .describe(
            Doc::new("users", "Let nobody in through the account")
                .about("Ends its sessions; its devices stay trusted.")
                .empty(204, "Disabled.")
                .problems(&[P::NotFound]),
        )
        .of_tenant(Role::TenantAdmin, Method::POST, ENABLE, enable)
        .describe(Doc::new("users", "Let a disabled account in again").empty(204, "Enabled.").problems(&[P::NotFound]))
        .of_tenant(Role::TenantAdmin, Method::POST, RESET, reset)
        .describe(
            Doc::new("users", "Mail a reset link")
                .about("The person chooses the password; until then the old one works.")
                .empty(204, "The link is on its way.")
                .problems(&[P::NotFound, P::InvalidRequest, P::TooManyRequests]),
        )
        .of_tenant(Role::TenantAdmin, Method::POST, COMPROMISED, mark_compromised)
        .describe(
            Doc::new("users", "Make a known password worthless")
                .about("It opens nothing any more, every device and session goes, and a reset link is mailed.")
                .empty(204, "The link is on its way.")
                .problems(&[P::NotFound, P::InvalidRequest, P::TooManyRequests]),
        )
}

/// A person.
#[derive(Serialize, JsonSchema)]
#[expect(clippy::struct_excessive_bools, reason = "facts of an answer, each true or false for itself")]
struct PersonView {
    #[schemars(with = "String")]
    id: AccountId,
    username: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    email: Option<String>,
    email_verified_at: Option<String>,
    /// The proven number.
    phone: Option<String>,
    /// What the registration gave as a number, unproven.
    phone_as_given: Option<String>,
    locale: Option<Locale>,
    /// Whether a contact is proven.
    verified: bool,
    disabled: bool,
    /// Whether a password is set; somebody invited has none yet.
    has_password: bool,
    /// When the last lock in force ends.
    locked_until: Option<String>,
    /// Made through a test identity.
    test: bool,
    created_at: String,
    /// When an unproven registration or invitation ends.
    unverified_until: Option<String>,
}

impl From<Person> for PersonView {
    fn from(person: Person) -> Self {
        let Person { account, test, has_password, locked_until } = person;
        let verified = account.is_verified();
        let Account { id, email, email_verified_at, phone, phone_as_given, username, .. } = account;
        Self {
            id,
            username,
            first_name: account.first_name,
            last_name: account.last_name,
            email: email.map(|email| email.as_str().to_owned()),
            email_verified_at: email_verified_at.map(Timestamp::to_rfc3339),
            phone: phone.map(|phone| phone.as_str().to_owned()),
            phone_as_given,
            locale: account.locale,
            verified,
            disabled: account.disabled,
            has_password,
            locked_until: locked_until.map(Timestamp::to_rfc3339),
            test,
            created_at: account.created_at.to_rfc3339(),
            unverified_until: account.unverified_until.map(Timestamp::to_rfc3339),
        }
    }
}

/// A person in full.
#[derive(Serialize, JsonSchema)]
struct DetailsView {
    #[serde(flatten)]
    person: PersonView,
    /// How many sign-ins live.
    sessions: usize,
    /// Trusted devices, last seen first.
    devices: Vec<DeviceView>,
    /// Wrong passwords counted, by who gave them.
    attempts: Vec<AttemptsView>,
}

#[derive(Serialize, JsonSchema)]
struct AttemptsView {
    /// The device; absent for everybody whose device is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    device: Option<DeviceId>,
    /// In the current window.
    failures: u32,
    /// Since the last success.
    consecutive: u32,
    locked_until: Option<String>,
}

/// The device that a lane stands for, if it is one's.
pub(super) const fn device_of(lane: Lane) -> Option<DeviceId> {
    match lane {
        Lane::Strangers => None,
        Lane::Device(device) => Some(device),
    }
}

impl From<Details> for DetailsView {
    fn from(details: Details) -> Self {
        let devices = details.devices.into_iter().map(DeviceView::from);
        let attempts = details.counters.into_iter().map(|(lane, counter)| AttemptsView {
            device: device_of(lane),
            failures: counter.failures,
            consecutive: counter.consecutive,
            locked_until: counter.lock.map(|lock| lock.until.to_rfc3339()),
        });
        let (devices, attempts) = (devices.collect(), attempts.collect());
        Self { person: details.person.into(), sessions: details.sessions, devices, attempts }
    }
}

/// Everything that is kept about a person.
#[derive(Serialize, JsonSchema)]
struct ExportView {
    account: DetailsView,
    sessions: Vec<SessionView>,
    links: Vec<LinkView>,
    locks: Vec<KeptLockView>,
    messages: Vec<MessageView>,
    /// Attempts to deliver them.
    deliveries: Vec<AttemptView>,
    events: Vec<EventView>,
}

#[derive(Serialize, JsonSchema)]
struct SessionView {
    #[schemars(with = "String")]
    id: SessionId,
    client_id: String,
    /// How it was proven.
    proof: String,
    user_agent: Option<String>,
    created_at: String,
    last_used_at: String,
    expires_at: String,
    ended_at: Option<String>,
    end_cause: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct LinkView {
    /// What it was good for.
    purpose: String,
    expires_at: String,
    used_at: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct KeptLockView {
    /// The device that was locked out; absent for everybody whose device is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    device: Option<DeviceId>,
    until: String,
    ended_at: Option<String>,
    end_cause: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct MessageView {
    /// `email` or `phone`.
    kind: String,
    to: String,
    template: Option<&'static str>,
    state: String,
    created_at: String,
    settled_at: Option<String>,
}

impl From<Dossier> for ExportView {
    fn from(dossier: Dossier) -> Self {
        let sessions = dossier.kept.sessions.into_iter().map(|session| {
            let ([created_at, last_used_at, expires_at], ended_at) = session.times();
            SessionView {
                id: session.id(),
                client_id: session.client_id,
                proof: session.proof,
                user_agent: session.label,
                created_at: created_at.to_rfc3339(),
                last_used_at: last_used_at.to_rfc3339(),
                expires_at: expires_at.to_rfc3339(),
                ended_at: ended_at.map(Timestamp::to_rfc3339),
                end_cause: session.end_cause,
            }
        });
        let links = dossier.kept.links.into_iter().map(|link| {
            let (expires_at, used_at) = link.times();
            let (expires_at, used_at) = (expires_at.to_rfc3339(), used_at.map(Timestamp::to_rfc3339));
            LinkView { purpose: link.purpose, expires_at, used_at }
        });
        let locks = dossier.kept.locks.into_iter().map(|lock| {
            let (until, ended_at) = lock.times();
            let device = lock.lane().and_then(device_of);
            let ended_at = ended_at.map(Timestamp::to_rfc3339);
            KeptLockView { device, until: until.to_rfc3339(), ended_at, end_cause: lock.end_cause }
        });
        let messages = dossier.kept.messages.into_iter().map(|message| MessageView {
            kind: message.kind,
            to: message.recipient,
            template: message.template,
            state: message.state,
            created_at: message.created_at.to_rfc3339(),
            settled_at: message.settled_at.map(Timestamp::to_rfc3339),
        });
        Self {
            sessions: sessions.collect(),
            links: links.collect(),
            locks: locks.collect(),
            messages: messages.collect(),
            deliveries: dossier.deliveries.into_iter().map(AttemptView::from).collect(),
            events: dossier.events.into_iter().map(EventView::from).collect(),
            account: dossier.details.into(),
        }
    }
}

/// Whom to invite.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewPerson {
    email: String,
    /// What the person is called.
    username: Option<String>,
    /// The language of the mail; the tenant's if not given.
    locale: Option<Locale>,
}

/// Somebody who was invited.
#[derive(Serialize, JsonSchema)]
struct Invited {
    #[schemars(with = "String")]
    id: AccountId,
    email: String,
    /// When the link ends, and with it the account if nobody follows it.
    expires_at: String,
}

fn query_error(pointer: &'static str, message: &'static str) -> Problem {
    Problem::validation(vec![FieldError::new(pointer, "invalid", message)])
}

async fn list(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let tenant = visit.tenant.id;
    let mut filter =
        PeopleFilter { limit: page::limit(&request)?, before: page::after(&request)?, ..PeopleFilter::default() };
    if let Some(part) = request.query("q") {
        let part = part.trim();
        if !(2..=100).contains(&part.chars().count()) {
            return Err(query_error("/q", "The query parameter takes 2 to 100 characters."));
        }
        filter.part = Some(part.to_owned());
    }
    if let Some(word) = request.query("status") {
        let wanted = "The query parameter is `active`, `unverified`, `disabled` or `locked`.";
        filter.status = Some(Status::from_word(&word).ok_or_else(|| query_error("/status", wanted))?);
    }
    let email = request.query("email").map(|typed| body::email(&typed).map(Contact::Email)).transpose()?;
    let phone = match request.query("phone") {
        Some(typed) => Some(Contact::Phone(body::phone(&typed, &desk.administration.context(tenant).await?)?)),
        None => None,
    };
    for contact in [email, phone].into_iter().flatten() {
        match desk.people.holder_of(tenant, &contact).await? {
            Some(id) if filter.only.is_none_or(|only| only == id) => filter.only = Some(id),
            _ => return Ok(Reply::json(StatusCode::OK, &Page::<PersonView>::whole(Vec::new())).no_store()),
        }
    }
    let found = desk.people.page(tenant, &filter).await?;
    let items = found.people.into_iter().map(PersonView::from).collect();
    let page = Page { items, next: found.next.map(|next| next.to_string()) };
    Ok(Reply::json(StatusCode::OK, &page).no_store())
}

async fn invite(desk: Arc<Desk>, visit: Visit, mut request: Request) -> Answer {
    let posted: NewPerson = request.json().await?;
    let email = body::email(&posted.email)?;
    let username = posted.username.map(|name| body::name(&name, "/username")).transpose();
    let username = username.map_err(|error| Problem::validation(vec![error]))?;
    let tenant = desk.administration.context(visit.tenant.id).await?;
    match desk.people.invite(&visit.holder, tenant, email.clone(), username, posted.locale).await? {
        InviteOutcome::Invited { account, expires } => {
            let location = format!("/admin/v1/tenants/{}/users/{account}", visit.tenant.slug);
            let location = HeaderValue::try_from(location).map_err(|_| ProblemCode::Internal)?;
            let view = Invited { id: account, email: email.as_str().to_owned(), expires_at: expires.to_rfc3339() };
            Ok(Reply::json(StatusCode::CREATED, &view).no_store().with_header(LOCATION, location))
        }
        InviteOutcome::Exists => Err(ProblemCode::UserExists.into()),
        InviteOutcome::Wait { wait } => Err(Problem::too_soon(wait)),
    }
}

/// The person that the path names; what is no id names nobody.
fn id(request: &Request) -> Result<AccountId, Problem> {
    request.param("id").and_then(|id| id.parse().ok()).ok_or_else(|| ProblemCode::NotFound.into())
}

async fn show(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let details = desk.people.show(visit.tenant.id, id(&request)?).await?;
    Ok(Reply::json(StatusCode::OK, &DetailsView::from(details)).no_store())
}

async fn export(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let dossier = desk.people.export(&visit.holder, visit.tenant.id, id(&request)?).await?;
    Ok(Reply::json(StatusCode::OK, &ExportView::from(dossier)).no_store())
}

async fn erase(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    desk.people.erase(&visit.holder, visit.tenant.id, id(&request)?).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

async fn unlock(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let tenant = desk.administration.context(visit.tenant.id).await?;
    desk.people.unlock(&visit.holder, &tenant, id(&request)?).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

async fn end_sessions(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let tenant = desk.administration.context(visit.tenant.id).await?;
    desk.people.end_sessions(&visit.holder, &tenant, id(&request)?).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

async fn disable(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    let tenant = desk.administration.context(visit.tenant.id).await?;
    desk.people.disable(&visit.holder, &tenant, id(&request)?).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

async fn enable(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    desk.people.enable(&visit.holder, visit.tenant.id, id(&request)?).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

async fn reset(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    start_reset(&desk, &visit, &request, false).await
}

async fn mark_compromised(desk: Arc<Desk>, visit: Visit, request: Request) -> Answer {
    start_reset(&desk, &visit, &request, true).await
}

async fn start_reset(desk: &Desk, visit: &Visit, request: &Request, compromised: bool) -> Answer {
    let tenant = desk.administration.context(visit.tenant.id).await?;
    match desk.people.reset(&visit.holder, tenant, id(request)?, compromised).await? {
        StartResetOutcome::Mailed => Ok(Reply::empty(StatusCode::NO_CONTENT)),
        StartResetOutcome::Unknown => Err(ProblemCode::NotFound.into()),
        StartResetOutcome::NoAddress => {
            Err(Problem::from(ProblemCode::InvalidRequest).with_message("The account has no e-mail address."))
        }
        StartResetOutcome::Wait { wait } => Err(Problem::too_soon(wait)),
    }
}
