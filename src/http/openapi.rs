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

/// What a route is for, takes and answers.
#[derive(Clone)]
pub struct Doc {
    tag: &'static str,
    summary: &'static str,
    about: &'static str,
    access: Access,
    query: Vec<(&'static str, &'static str)>,
    headers: Vec<(&'static str, &'static str)>,
    body: Option<(&'static [&'static str], SchemaOf)>,
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
        self.body = Some((media, schema_of::<T>));
        self
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
    let mut responses = Map::new();
    for Described { status, meaning, body } in &doc.answers {
        let mut response = json!({ "description": meaning });
        if let (Some((media, schema)), Some(response)) = (body, response.as_object_mut()) {
            response.insert("content".into(), json!({ *media: { "schema": schema(generator).to_value() } }));
        }
        responses.insert(status.to_string(), response);
    }
    for (status, codes) in refusals(route, doc) {
        let content = json!({ "application/problem+json": { "schema": problem } });
        responses.insert(status.to_string(), json!({ "description": codes.join(", "), "content": content }));
    }
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
    if let Some((media, schema)) = doc.body {
        let schema = schema(generator).to_value();
        let content: Map<_, _> = media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect();
        members.insert("requestBody".into(), json!({ "required": true, "content": content }));
    }
    operation
}

/// Its own refusals and those that follow from what it takes, by status.
fn refusals<S>(route: &Route<S>, doc: &Doc) -> Vec<(u16, Vec<&'static str>)> {
    use ProblemCode as P;
    let mut codes = doc.problems.clone();
    if doc.body.is_some() {
        codes.extend([P::InvalidJson, P::Validation, P::PayloadTooLarge, P::UnsupportedMediaType, P::RequestTimeout]);
    }
    if route.pattern.contains('{') {
        codes.extend([P::InvalidRequest, P::NotFound]);
    }
    match doc.access {
        Access::Public => {}
        Access::Token => codes.extend([P::MissingToken, P::InvalidToken, P::InvalidRequest]),
        Access::App => codes.push(P::InvalidRequest),
    }
    if route.role.is_some() {
        codes.extend([P::MissingToken, P::InvalidToken, P::InvalidRequest, P::Forbidden, P::TooManyRequests]);
    }
    if route.pattern.contains("{slug}") {
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
