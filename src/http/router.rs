//! The whole API as one table: method, pattern, handler.
//!
//! A [`Routes`] list is written down by the handlers' files, walked by tests and compiled once
//! into a [`Router`]. What the table does not say follows from it: a path of no pattern is 404, a
//! method no row has is 405 with `Allow`, GET serves HEAD, and OPTIONS answers 204 by itself.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use super::middleware::Lane;
use super::openapi::Doc;
use super::problem::{Problem, ProblemCode};
use super::reply::Reply;
use super::request::Request;
use crate::domain::limits::LimitName;
use crate::domain::role::Role;

/// What a handler gives back.
pub type Answer = Result<Reply, Problem>;

type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

type Handler<S> = Arc<dyn Fn(Arc<S>, Request) -> AnswerFuture + Send + Sync>;

/// Answers from memory, at once; `None`: ask the handler.
pub type Recall<S> = fn(&S, &Uri, &HeaderMap) -> Option<Reply>;

/// Has the last word on an answer, whoever gave it.
pub type LastWord = fn(&Uri, Reply) -> Reply;

/// The label of requests that no pattern matches; a raw path never becomes one.
pub const UNMATCHED: &str = "unmatched";

/// One row of the table.
pub struct Route<S> {
    /// The method it serves; `None` serves every method there is, and those that somebody invents.
    pub method: Option<Method>,
    /// The path below the tenant's prefix, with parameters as `{id}`; the label of metrics.
    pub pattern: &'static str,
    /// Is it asked so often that only one in a thousand requests is worth a line in the log?
    pub is_hot: bool,
    /// Whose places it takes.
    pub lane: Lane,
    /// Limits asked before the handler, in one question; none for what gateways and probes ask.
    pub limits: &'static [LimitName],
    /// Answers what it can before a future, a timer or a line in the log is made.
    pub recall: Option<Recall<S>>,
    /// Has the last word, on refusals by the middleware too.
    pub last_word: Option<LastWord>,
    /// The lowest role whose admin keys open it; none asks for no admin key.
    pub role: Option<Role>,
    /// What the API's description says of it.
    pub doc: Option<Doc>,
    handler: Handler<S>,
}

impl<S> Clone for Route<S> {
    fn clone(&self) -> Self {
        Self {
            method: self.method.clone(),
            pattern: self.pattern,
            is_hot: self.is_hot,
            lane: self.lane,
            limits: self.limits,
            recall: self.recall,
            last_word: self.last_word,
            role: self.role,
            doc: self.doc.clone(),
            handler: self.handler.clone(),
        }
    }
}

impl<S> Route<S> {
    fn serves(&self, method: &Method) -> bool {
        match &self.method {
            Some(own) => own == method || *own == Method::GET && method == Method::HEAD,
            None => true,
        }
    }

    /// Runs the handler.
    pub fn call(&self, state: Arc<S>, request: Request) -> impl Future<Output = Answer> + Send + use<S> {
        (self.handler)(state, request)
    }
}

/// The table while it is written down.
pub struct Routes<S>(Vec<Route<S>>);

impl<S> Default for Routes<S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S: Send + Sync + 'static> Routes<S> {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row.
    #[must_use]
    pub fn route<H, F>(self, method: Method, pattern: &'static str, handler: H) -> Self
    where
        H: Fn(Arc<S>, Request) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.row(Some(method), pattern, handler)
    }

    /// Adds a row that serves every method, as `/forward-auth` must.
    #[must_use]
    pub fn any<H, F>(self, pattern: &'static str, handler: H) -> Self
    where
        H: Fn(Arc<S>, Request) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.row(None, pattern, handler)
    }

    /// Says that the row added last is hot.
    #[must_use]
    pub fn hot(mut self) -> Self {
        if let Some(route) = self.0.last_mut() {
            route.is_hot = true;
        }
        self
    }

    /// Says whose places the row added last takes.
    #[must_use]
    pub fn lane(mut self, lane: Lane) -> Self {
        if let Some(route) = self.0.last_mut() {
            route.lane = lane;
        }
        self
    }

    /// Says which limits the row added last is under.
    #[must_use]
    pub fn limited(mut self, limits: &'static [LimitName]) -> Self {
        if let Some(route) = self.0.last_mut() {
            route.limits = limits;
        }
        self
    }

    /// Says which role the row added last takes; whoever adds it sees to it that it does.
    #[must_use]
    pub(super) fn role(mut self, role: Role) -> Self {
        if let Some(route) = self.0.last_mut() {
            route.role = Some(role);
        }
        self
    }

    /// Lets the row added last answer from memory what it can.
    #[must_use]
    pub fn recall(mut self, recall: Recall<S>) -> Self {
        if let Some(route) = self.0.last_mut() {
            route.recall = Some(recall);
        }
        self
    }

    /// Gives the row added last the last word on its answers.
    #[must_use]
    pub fn last_word(mut self, last_word: LastWord) -> Self {
        if let Some(route) = self.0.last_mut() {
            route.last_word = Some(last_word);
        }
        self
    }

    /// Describes the row added last.
    #[must_use]
    pub fn describe(mut self, doc: Doc) -> Self {
        if let Some(route) = self.0.last_mut() {
            route.doc = Some(doc);
        }
        self
    }

    /// Adds the rows of another table.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// All rows, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = &Route<S>> {
        self.0.iter()
    }

    fn row<H, F>(mut self, method: Option<Method>, pattern: &'static str, handler: H) -> Self
    where
        H: Fn(Arc<S>, Request) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let handler: Handler<S> = Arc::new(move |state, request| Box::pin(handler(state, request)));
        let route = Route {
            method,
            pattern,
            is_hot: false,
            lane: Lane::default(),
            limits: &[],
            recall: None,
            last_word: None,
            role: None,
            doc: None,
            handler,
        };
        self.0.push(route);
        self
    }
}

/// Why a table cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRoutes {
    /// A pattern is malformed or collides with another.
    #[error("the pattern {pattern} cannot be routed")]
    Pattern {
        /// The pattern at fault.
        pattern: &'static str,
        /// What is wrong with it.
        #[source]
        source: matchit::InsertError,
    },
    /// Two rows would serve the same request.
    #[error("{pattern} has two handlers for one method")]
    Twice {
        /// The pattern at fault.
        pattern: &'static str,
    },
}

/// The compiled table.
pub struct Router<S> {
    routes: Routes<S>,
    index: matchit::Router<Vec<Route<S>>>,
}

/// What the table says about a path and a method.
pub enum Found<'r, 'p, S> {
    /// This row, with the parameters of its pattern.
    Route(&'r Route<S>, matchit::Params<'r, 'p>),
    /// The path exists: the answer to OPTIONS.
    Options(&'static str, HeaderValue),
    /// The path exists, but not for this method.
    MethodNotAllowed(&'static str, HeaderValue),
    /// There is no such path.
    Nothing,
}

impl<S: Send + Sync + 'static> Router<S> {
    /// Compiles a table.
    ///
    /// # Errors
    /// [`InvalidRoutes`] names the pattern that cannot be served.
    pub fn new(routes: Routes<S>) -> Result<Self, InvalidRoutes> {
        let mut by_pattern: Vec<(&'static str, Vec<Route<S>>)> = Vec::new();
        for route in routes.iter() {
            match by_pattern.iter_mut().find(|(pattern, _)| *pattern == route.pattern) {
                Some((_, rows)) => {
                    if rows.iter().any(|row| row.method == route.method) {
                        return Err(InvalidRoutes::Twice { pattern: route.pattern });
                    }
                    rows.push(route.clone());
                }
                None => by_pattern.push((route.pattern, vec![route.clone()])),
            }
        }
        let mut index = matchit::Router::new();
        for (pattern, rows) in by_pattern {
            index.insert(pattern, rows).map_err(|source| InvalidRoutes::Pattern { pattern, source })?;
        }
        Ok(Self { routes, index })
    }

    /// The table it was made from.
    pub fn routes(&self) -> &Routes<S> {
        &self.routes
    }

    /// Looks up a path that is already without its tenant's prefix.
    pub fn find<'r, 'p>(&'r self, method: &Method, path: &'p str) -> Found<'r, 'p, S> {
        let Ok(found) = self.index.at(path) else { return Found::Nothing };
        let (rows, params) = (found.value, found.params);
        let Some(pattern) = rows.first().map(|row| row.pattern) else { return Found::Nothing };
        // A row of that very method goes before GET for HEAD, and before a row for any method.
        let exact = rows.iter().find(|row| row.method.as_ref() == Some(method));
        match exact.or_else(|| rows.iter().find(|row| row.serves(method))) {
            Some(row) => Found::Route(row, params),
            None if method == Method::OPTIONS => Found::Options(pattern, allow(rows)),
            None => Found::MethodNotAllowed(pattern, allow(rows)),
        }
    }
}

/// The methods of a path, as `Allow` lists them.
fn allow<S>(rows: &[Route<S>]) -> HeaderValue {
    let mut methods = BTreeSet::from(["OPTIONS"]);
    for method in rows.iter().filter_map(|row| row.method.as_ref()) {
        methods.insert(method.as_str());
        if method == Method::GET {
            methods.insert("HEAD");
        }
    }
    let list = methods.into_iter().collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(list).unwrap_or(HeaderValue::from_static("OPTIONS"))
}

impl<S> Found<'_, '_, S> {
    /// Whether it is a row that is asked all the time.
    pub fn is_hot(&self) -> bool {
        matches!(self, Self::Route(route, _) if route.is_hot)
    }

    /// Whose places it takes.
    pub fn lane(&self) -> Lane {
        if let Self::Route(route, _) = self { route.lane } else { Lane::default() }
    }

    /// The pattern that matched: the `route` label of metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Route(route, _) => route.pattern,
            Self::Options(pattern, _) | Self::MethodNotAllowed(pattern, _) => pattern,
            Self::Nothing => UNMATCHED,
        }
    }
}

/// The answer where no handler is asked.
pub(super) fn without_handler<S>(found: &Found<'_, '_, S>) -> Answer {
    match found {
        Found::Options(_, allow) => Ok(Reply::empty(StatusCode::NO_CONTENT).with_header(ALLOW, allow.clone())),
        Found::MethodNotAllowed(_, allow) => Err(Problem::method_not_allowed(allow.clone())),
        Found::Route(..) | Found::Nothing => Err(ProblemCode::NotFound.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn handler(_state: Arc<()>, _request: Request) -> Answer {
        Ok(Reply::empty(StatusCode::OK))
    }

    fn router() -> Router<()> {
        Router::new(
            Routes::new()
                .route(Method::GET, "/sessions", handler)
                .route(Method::DELETE, "/sessions/{id}", handler)
                .route(Method::POST, "/login", handler)
                .any("/forward-auth", handler)
                .hot(),
        )
        .unwrap()
    }

    fn describe(method: &str, path: &str) -> String {
        let router = router();
        match router.find(&method.parse().unwrap(), path) {
            Found::Route(route, params) => {
                let params: Vec<_> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{} {}", route.pattern, params.join(","))
            }
            Found::Options(_, allow) => format!("options {}", allow.to_str().unwrap()),
            Found::MethodNotAllowed(_, allow) => format!("405 {}", allow.to_str().unwrap()),
            Found::Nothing => "404".to_owned(),
        }
    }

    #[test]
    fn the_table_decides_and_the_rest_follows() {
        for (method, path, expected) in [
            ("GET", "/sessions", "/sessions "),
            ("HEAD", "/sessions", "/sessions "),
            ("DELETE", "/sessions/42", "/sessions/{id} id=42"),
            ("DELETE", "/sessions/a%2Fb", "/sessions/{id} id=a%2Fb"),
            ("OPTIONS", "/sessions", "options GET, HEAD, OPTIONS"),
            ("POST", "/sessions", "405 GET, HEAD, OPTIONS"),
            ("TRACE", "/login", "405 OPTIONS, POST"),
            ("HEAD", "/login", "405 OPTIONS, POST"),
            ("BREW", "/login", "405 OPTIONS, POST"),
            ("BREW", "/forward-auth", "/forward-auth "),
            ("OPTIONS", "/forward-auth", "/forward-auth "),
            ("TRACE", "/forward-auth", "/forward-auth "),
            ("CONNECT", "/forward-auth", "/forward-auth "),
            ("GET", "/sessions/", "404"),
            ("GET", "/Sessions", "404"),
            ("GET", "//sessions", "404"),
            ("GET", "/", "404"),
            ("OPTIONS", "*", "404"),
            ("GET", "", "404"),
        ] {
            assert_eq!(describe(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_table_with_two_answers_is_refused() {
        let twice = Routes::new().route(Method::GET, "/a", handler).route(Method::GET, "/a", handler);
        let collision = Routes::new().route(Method::GET, "/{a}", handler).route(Method::GET, "/{b}", handler);

        assert!(matches!(Router::new(twice), Err(InvalidRoutes::Twice { pattern: "/a" })));
        assert!(matches!(Router::new(collision), Err(InvalidRoutes::Pattern { .. })));
    }

    #[test]
    fn the_table_can_be_walked() {
        let hot: Vec<_> = router().routes().iter().filter(|route| route.is_hot).map(|route| route.pattern).collect();

        assert_eq!(hot, ["/forward-auth"]);
    }
}
