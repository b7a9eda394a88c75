//! The API's own description: OpenAPI 3.1, made from the table of routes and the types that handlers
//! read and write.
//!
//! A route is described where it is declared, with a [`Doc`]; its schemas are derived (`JsonSchema`)
//! from the very types that serde decodes and encodes, so that neither can drift from the code.
//!
//! ```text
//!  Routes::new()
//!      .route(Method::GET, "/things/{id}", show)
//!      .describe(Doc::new("things", "One thing").answer::<Thing>(200, "It.").problems(&[NotFound]))
//! ```

use std::collections::BTreeMap;

use http::Method;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::problem::{FieldError, ProblemCode};
use super::router::{Route, Routes};

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// Who may ask, where no admin key is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Anybody.
    #[default]
    Public,
    /// The holder of an access token.
    Token,
    /// One of the tenant's applications, by its id and secret.
    App,
}

/// One answer: its status, what it means, and the media type and schema of its body.
#[derive(Clone)]
struct Described {
    status: u16,
    meaning: &'static str,
    body: Option<(&'static str, SchemaOf)>,
}

/// The body a route takes: its media types, its schema, and whether there must be one.
#[derive(Clone, Copy)]
struct Taken {
    media: &'static [&'static str],
    schema: SchemaOf,
    is_required: bool,
}

/// What a route is for, takes and answers.
#[derive(Clone)]
pub struct Doc {
    tag: &'static str,
    summary: &'static str,
    about: &'static str,
    access: Access,
    query: Vec<(&'static str, &'static str)>,
    headers: Vec<(&'static str, &'static str)>,
    body: Option<Taken>,
    /// Whether what it cannot read is refused in another form than a problem document.
    has_own_refusals: bool,
    answers: Vec<Described>,
    problems: Vec<ProblemCode>,
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Doc {
    /// A route of the group `tag`, in a few words.
    #[must_use]
    pub fn new(tag: &'static str, summary: &'static str) -> Self {
        Self {
            tag,
            summary,
            about: "",
            access: Access::Public,
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            has_own_refusals: false,
            answers: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// What a caller should know beyond the summary.
    #[must_use]
    pub fn about(mut self, text: &'static str) -> Self {
        self.about = text;
        self
    }

    /// Who may ask.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// An optional query parameter, and what it means.
    #[must_use]
    pub fn query(mut self, name: &'static str, meaning: &'static str) -> Self {
        self.query.push((name, meaning));
        self
    }

    /// An optional request header, and what it means.
    #[must_use]
    pub fn header(mut self, name: &'static str, meaning: &'static str) -> Self {
        self.headers.push((name, meaning));
        self
    }

    /// The JSON body it takes.
    #[must_use]
    pub fn body<T: JsonSchema>(self) -> Self {
        self.body_as::<T>(&["application/json"])
    }

    /// The body it takes, under one of these media types.
    #[must_use]
    pub fn body_as<T: JsonSchema>(mut self, media: &'static [&'static str]) -> Self {
        self.body = Some(Taken { media, schema: schema_of::<T>, is_required: true });
        self
    }

    /// The form it takes.
    #[must_use]
    pub fn form<T: JsonSchema>(self) -> Self {
        self.body_as::<T>(&["application/x-www-form-urlencoded"])
    }

    /// The JSON body it takes where there is one.
    #[must_use]
    pub fn optional_body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Taken { media: &["application/json"], schema: schema_of::<T>, is_required: false });
        self
    }

    /// It takes what shows a trusted device.
    #[must_use]
    pub fn from_a_device(self) -> Self {
        self.header("X-Device-Id", "The device token of an app without a cookie jar.")
    }

    /// An answer with a JSON body.
    #[must_use]
    pub fn answer<T: JsonSchema>(self, status: u16, meaning: &'static str) -> Self {
        self.answer_as::<T>(status, "application/json", meaning)
    }

    /// An answer with a body of another media type.
    #[must_use]
    pub fn answer_as<T: JsonSchema>(mut self, status: u16, media: &'static str, meaning: &'static str) -> Self {
        self.answers.push(Described { status, meaning, body: Some((media, schema_of::<T>)) });
        self
    }

    /// A page for a person's browser, beside what programs are answered under that status.
    #[must_use]
    pub fn page(self, status: u16) -> Self {
        self.answer_as::<String>(status, "text/html", "For browsers, a page.")
    }

    /// What it cannot read or will not do is refused in JSON of its own, under these statuses.
    #[must_use]
    pub fn refuses_as<T: JsonSchema>(mut self, statuses: &[(u16, &'static str)]) -> Self {
        self.has_own_refusals = true;
        statuses.iter().fold(self, |doc, (status, meaning)| doc.answer::<T>(*status, meaning))
    }

    /// An answer without a body.
    #[must_use]
    pub fn empty(mut self, status: u16, meaning: &'static str) -> Self {
        self.answers.push(Described { status, meaning, body: None });
        self
    }

    /// Refusals of its own, beside those that any route may give.
    #[must_use]
    pub fn problems(mut self, codes: &[ProblemCode]) -> Self {
        self.problems.extend_from_slice(codes);
        self
    }

    /// The group it belongs to.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        self.tag
    }

    /// What it is for, in a few words.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        self.summary
    }
}

/// What a problem document holds (RFC 9457 and our members).
#[derive(JsonSchema)]
#[schemars(rename = "Problem")]
#[expect(dead_code, reason = "stands for the documents of `problem`, which are put together by hand")]
struct ProblemDocument {
    /// An absolute URI that names the kind of problem.
    r#type: String,
    /// The kind of problem in a few words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// Stable word for programs.
    code: String,
    /// What went wrong, for people.
    message: String,
    /// The request, as a URI.
    instance: String,
    /// The members that were not as they should be.
    #[schemars(default)]
    errors: Vec<FieldError>,
}

/// The document that describes every route of the table that has a [`Doc`].
#[must_use]
pub fn document<S: Send + Sync + 'static>(title: &str, routes: &Routes<S>) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let problem = generator.subschema_for::<ProblemDocument>().to_value();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes.iter() {
        let Some(doc) = &route.doc else { continue };
        let path = paths.entry(route.pattern).or_insert_with(|| json!({}));
        let method = route.method.as_ref().unwrap_or(&Method::GET).as_str().to_ascii_lowercase();
        if let Some(path) = path.as_object_mut() {
            path.insert(method, operation(route, doc, &problem, &mut generator));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": title, "version": env!("CARGO_PKG_VERSION"), "license": { "name": "MIT", "identifier": "MIT" } },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer", "description": "An admin key." },
                "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "An access token." },
                "app": { "type": "http", "scheme": "basic", "description": "An app's id and secret." },
            },
        },
    })
}

fn operation<S>(route: &Route<S>, doc: &Doc, problem: &Value, generator: &mut SchemaGenerator) -> Value {
    let mut answers: BTreeMap<u16, Answered> = BTreeMap::new();
    for Described { status, meaning, body } in &doc.answers {
        let answered = answers.entry(*status).or_default();
        answered.meanings.push((*meaning).to_owned());
        if let Some((media, schema)) = body {
            answered.content.entry(media).or_default().push(schema(generator).to_value());
        }
    }
    for (status, codes) in refusals(route, doc) {
        let answered = answers.entry(status).or_default();
        answered.meanings.push(codes.join(", "));
        answered.content.entry("application/problem+json").or_default().push(problem.clone());
    }
    // Token checks are limited by what no route says.
    let is_limited = !route.limits.is_empty() || doc.problems.contains(&ProblemCode::TooManyRequests);
    let responses: Map<_, _> = answers
        .into_iter()
        .map(|(status, answered)| (status.to_string(), answered.response(status, is_limited)))
        .collect();
    let mut operation = json!({
        "tags": [doc.tag],
        "summary": doc.summary,
        "operationId": operation_id(route),
        "parameters": parameters(route.pattern, doc),
        "responses": responses,
    });
    let Some(members) = operation.as_object_mut() else { return operation };
    let role = route.role.map(|role| format!("Role: {} or above.", role.as_str()));
    let about: Vec<_> =
        [Some(doc.about.to_owned()).filter(|about| !about.is_empty()), role].into_iter().flatten().collect();
    if !about.is_empty() {
        members.insert("description".into(), json!(about.join(" ")));
    }
    let scheme = match (route.role, doc.access) {
        (Some(_), _) => Some("key"),
        (None, Access::Public) => None,
        (None, Access::Token) => Some("token"),
        (None, Access::App) => Some("app"),
    };
    members.insert("security".into(), scheme.map_or(json!([]), |scheme| json!([{ scheme: [] }])));
    if let Some(Taken { media, schema, is_required }) = doc.body {
        let schema = schema(generator).to_value();
        let content: Map<_, _> = media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect();
        members.insert("requestBody".into(), json!({ "required": is_required, "content": content }));
    }
    operation
}

/// All that may come under one status.
#[derive(Default)]
struct Answered {
    meanings: Vec<String>,
    content: BTreeMap<&'static str, Vec<Value>>,
}

impl Answered {
    fn response(self, status: u16, is_limited: bool) -> Value {
        let meanings: Vec<_> = self.meanings.into_iter().filter(|meaning| !meaning.is_empty()).collect();
        let mut response = Map::from_iter([("description".to_owned(), json!(meanings.join(" ")))]);
        let content: Map<_, _> = self
            .content
            .into_iter()
            .map(|(media, mut schemas)| {
                let last = schemas.pop().unwrap_or_default();
                let schema = if schemas.is_empty() {
                    last
                } else {
                    schemas.push(last);
                    json!({ "anyOf": schemas })
                };
                (media.to_owned(), json!({ "schema": schema }))
            })
            .collect();
        if !content.is_empty() {
            response.insert("content".into(), Value::Object(content));
        }
        let headers = headers(status, is_limited);
        if !headers.is_empty() {
            response.insert("headers".into(), Value::Object(headers));
        }
        Value::Object(response)
    }
}

/// What a client should read beside the body.
fn headers(status: u16, is_limited: bool) -> Map<String, Value> {
    let mut headers = Map::new();
    let mut add = |name: &str, meaning: &str, kind: &str, is_required: bool| {
        let header = json!({ "description": meaning, "required": is_required, "schema": { "type": kind } });
        headers.insert(name.to_owned(), header);
    };
    if status == 401 {
        add("WWW-Authenticate", "What is asked for (RFC 9110 §11.6.1).", "string", true);
    }
    if matches!(status, 429 | 503) {
        add("Retry-After", "Seconds to wait.", "integer", true);
    }
    if is_limited && (status == 429 || status < 300) {
        add("RateLimit-Policy", "What is allowed (draft-ietf-httpapi-ratelimit-headers-10).", "string", false);
        add("RateLimit", "What is left of it.", "string", false);
    }
    headers
}

/// Its own refusals and those that follow from what it takes, by status.
fn refusals<S>(route: &Route<S>, doc: &Doc) -> Vec<(u16, Vec<&'static str>)> {
    use ProblemCode as P;
    let mut codes = doc.problems.clone();
    if doc.body.is_some() && !doc.has_own_refusals {
        codes.extend([P::InvalidJson, P::Validation, P::PayloadTooLarge, P::UnsupportedMediaType, P::RequestTimeout]);
    }
    if route.pattern.contains('{') {
        codes.extend([P::InvalidRequest, P::NotFound]);
    }
    match doc.access {
        Access::Public => {}
        Access::Token => codes.extend([P::MissingToken, P::InvalidToken, P::InvalidRequest]),
        Access::App if doc.has_own_refusals => {}
        Access::App => codes.push(P::InvalidRequest),
    }
    if route.role.is_some() {
        codes.extend([P::MissingToken, P::InvalidToken, P::InvalidRequest, P::Forbidden, P::TooManyRequests]);
    }
    if !route.limits.is_empty() {
        codes.push(P::TooManyRequests);
    }
    // On the public listener every route belongs to a tenant.
    if route.role.is_none() || route.pattern.contains("{slug}") {
        codes.push(P::TenantNotFound);
    }
    codes.extend([P::Overloaded, P::DependencyUnavailable, P::Internal]);
    let mut by_status: Vec<(u16, Vec<&'static str>)> = Vec::new();
    for code in codes {
        let status = code.status().as_u16();
        match by_status.iter_mut().find(|(known, _)| *known == status) {
            Some((_, known)) if known.contains(&code.code()) => {}
            Some((_, known)) => known.push(code.code()),
            None => by_status.push((status, vec![code.code()])),
        }
    }
    by_status.sort_unstable_by_key(|(status, _)| *status);
    by_status
}

fn parameters(pattern: &str, doc: &Doc) -> Vec<Value> {
    let text = json!({ "type": "string" });
    let in_path = pattern.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let mut parameters: Vec<_> =
        in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": text })).collect();
    let optional = |place: &'static str| {
        let text = text.clone();
        move |(name, meaning): &(&'static str, &'static str)| json!({ "name": name, "in": place, "description": meaning, "schema": text })
    };
    parameters.extend(doc.query.iter().map(optional("query")));
    parameters.extend(doc.headers.iter().map(optional("header")));
    parameters
}

/// `get_tenants_slug_keys`: stable, and unique as method and pattern are together.
fn operation_id<S>(route: &Route<S>) -> String {
    let method = route.method.as_ref().map_or("any", Method::as_str).to_ascii_lowercase();
    let words = route.pattern.split(['/', '{', '}', '-', '.', '_']).filter(|word| !word.is_empty());
    std::iter::once(method.as_str()).chain(words).collect::<Vec<_>>().join("_")
}
