//! The texts people receive: those that are built in, and any as it would look.

use std::sync::Arc;

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::page::Page;
use crate::actors::administration::messages::{BuiltIn, Preview, Shown, SmsCost, built_in_texts};
use crate::domain::locale::Locale;
use crate::domain::message::Channel;
use crate::domain::role::Role;
use crate::domain::settings::templates::{Carries, TemplateName, Texts};
use crate::http::desk::{Desk, Guarded as _, Visit};
use crate::http::openapi::Doc;
use crate::http::problem::ProblemCode;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::{Answer, Routes};

const LIST: &str = "/admin/v1/tenants/{slug}/templates";
const PREVIEW: &str = "/admin/v1/tenants/{slug}/templates/preview";

/// The rows of this file.
pub(super) fn routes() -> Routes<Desk> {
    Routes::new()
        .of_tenant(Role::TenantSupport, Method::GET, LIST, list)
        .describe(
            Doc::new("templates", "The built-in texts")
                .about("As they could be saved in the settings' `templates`, where a tenant's own are.")
                .answer::<Page<TextsView>>(200, "All of them."),
        )
        .of_tenant(Role::TenantSupport, Method::POST, PREVIEW, preview)
        .describe(
            Doc::new("templates", "Show a message with sample values")
                .about("Saves and sends nothing. What is wrong with the texts is said as saving them would, by where they stand here.")
                .body::<NewPreview>()
                .answer::<PreviewView>(200, "What a person would read.")
                .problems(&[ProblemCode::Validation]),
        )
}

/// The texts of one message in one language.
#[derive(Serialize, JsonSchema)]
struct TextsView {
    name: TemplateName,
    locale: Locale,
    /// How it may travel.
    channels: Vec<&'static str>,
    /// Must say its code.
    has_code: bool,
    /// Names that stand for something in it.
    variables: Vec<&'static str>,
    /// Those of them that may be unknown: only within an `if`.
    optional: Vec<&'static str>,
    texts: Texts,
}

impl From<BuiltIn> for TextsView {
    fn from(built_in: BuiltIn) -> Self {
        let BuiltIn { name, locale, texts } = built_in;
        Self {
            name,
            locale,
            channels: name.channels().iter().map(|channel| channel.as_str()).collect(),
            has_code: name.carries() == Carries::Code,
            variables: name.variables().to_vec(),
            optional: name.optional_variables().to_vec(),
            texts,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewPreview {
    name: TemplateName,
    /// The tenant's language if not given.
    locale: Option<Locale>,
    /// `sms` or `email`; the first it may travel by if not given.
    #[schemars(with = "Option<String>")]
    channel: Option<Channel>,
    /// Texts that need not be saved; those in force if not given.
    texts: Option<Texts>,
}

/// What a person would read.
#[derive(Serialize, JsonSchema)]
struct PreviewView {
    /// A mail's subject.
    subject: Option<String>,
    /// With an SMS's last line.
    text: String,
    /// A mail in HTML.
    html: Option<String>,
    /// What the SMS costs with the longest values.
    sms: Option<CostView>,
}

/// What an SMS costs.
#[derive(Serialize, JsonSchema)]
struct CostView {
    /// Segments that are billed.
    parts: usize,
    characters: usize,
    /// `GSM-7` or `UCS-2`.
    encoding: &'static str,
}

impl From<Preview> for PreviewView {
    fn from(preview: Preview) -> Self {
        let Preview { subject, text, html, sms } = preview;
        let cost =
            |SmsCost { parts, characters, encoding }| CostView { parts, characters, encoding: encoding.as_str() };
        Self { subject, text, html, sms: sms.map(cost) }
    }
}

async fn list(_desk: Arc<Desk>, _visit: Visit, _request: Request) -> Answer {
    let texts = built_in_texts().into_iter().map(TextsView::from).collect();
    Ok(Reply::json(StatusCode::OK, &Page::whole(texts)).no_store())
}

async fn preview(desk: Arc<Desk>, visit: Visit, mut request: Request) -> Answer {
    let NewPreview { name, locale, channel, texts } = request.json().await?;
    let tenant = desk.administration.context(visit.tenant.id).await?;
    let shown = Shown {
        name,
        locale: locale.unwrap_or(tenant.policy().locale),
        channel: channel.or_else(|| name.channels().first().copied()).unwrap_or(Channel::Email),
        texts,
    };
    let preview = desk.administration.preview(&visit.tenant, shown).await?;
    Ok(Reply::json(StatusCode::OK, &PreviewView::from(preview)).no_store())
}
