//! Tenants' own texts, compiled: kept by tenant and settings version, dropped when stale.

use std::fmt;
use std::sync::Arc;

use dashmap::DashMap;
use minijinja::{Environment, UndefinedBehavior, default_auto_escape_callback};

use super::check::part_names;
use super::grammar;
use crate::domain::ids::TenantId;
use crate::domain::locale::Locale;
use crate::domain::message::Channel;
use crate::domain::settings::templates::{TemplateName, TemplateSettings, Texts};

/// Tenants whose compiled texts are kept; beyond it all are dropped and made anew as needed, which
/// costs a fraction of a millisecond each.
const MOST_TENANTS: usize = 256;

/// Steps a rendering may take: ten times what the largest text needs.
const FUEL: u64 = 100_000;

/// A tenant's own texts, as its settings hold them.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// Whose.
    pub tenant: TenantId,
    /// The settings' version.
    pub version: u64,
    /// The texts.
    pub settings: &'a TemplateSettings,
}

/// One tenant's texts, compiled.
pub(super) struct Compiled {
    version: u64,
    pub(super) environment: Environment<'static>,
}

impl Compiled {
    /// Whether anything in it is for such a message.
    pub(super) fn has(&self, name: &str, channel: Channel, locale: Locale) -> bool {
        let has = |(_, suffix): &(&str, &str)| {
            self.environment.get_template(&format!("{name}.{}.{suffix}", locale.tag())).is_ok()
        };
        part_names(channel).iter().any(has)
    }
}

/// The compiled texts of the tenants that sent lately.
#[derive(Default)]
pub(super) struct Shelf(DashMap<TenantId, Arc<Compiled>>);

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shelf({})", self.0.len())
    }
}

impl Shelf {
    /// The tenant's texts as of that version.
    pub(super) fn get(&self, own: Own<'_>) -> Option<Arc<Compiled>> {
        if own.settings.texts.is_empty() {
            self.0.remove(&own.tenant);
            return None;
        }
        let known = self.0.get(&own.tenant).map(|known| Arc::clone(&known));
        if let Some(known) = known.filter(|known| known.version == own.version) {
            return Some(known);
        }
        let compiled = Arc::new(Compiled { version: own.version, environment: compile(own.settings) });
        if self.0.len() >= MOST_TENANTS {
            self.0.clear();
        }
        self.0.insert(own.tenant, Arc::clone(&compiled));
        Some(compiled)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// An engine in which nothing can be called.
pub(super) fn sandbox() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_auto_escape_callback(default_auto_escape_callback);
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_debug(false);
    environment.set_fuel(Some(FUEL));
    environment
}

/// Every text that compiles. One that does not was let in by an older, laxer version: the built-in
/// stands for the whole message then, and the log says so, once for each version of the settings.
fn compile(settings: &TemplateSettings) -> Environment<'static> {
    let mut environment = sandbox();
    for (name, locale, texts) in settings.iter() {
        for &channel in name.channels() {
            if let Err(problem) = add(&mut environment, name, channel, locale, texts) {
                for (_, suffix) in part_names(channel) {
                    environment.remove_template(&template(name, locale, suffix));
                }
                tracing::warn!(
                    message.template = name.as_str(),
                    locale = locale.tag(),
                    part = problem.part,
                    "a tenant's text cannot be used: the built-in is sent"
                );
            }
        }
    }
    environment
}

/// What is wrong with the source of a part.
pub(super) struct Problem {
    pub(super) part: &'static str,
    pub(super) reason: String,
}

/// Compiles the parts of one message; half of them may be there when it fails.
pub(super) fn add(
    environment: &mut Environment<'static>,
    name: TemplateName,
    channel: Channel,
    locale: Locale,
    texts: &Texts,
) -> Result<(), Problem> {
    for (part, source) in texts.parts() {
        let Some((_, suffix)) = part_names(channel).iter().find(|(known, _)| *known == part) else { continue };
        let problem = |reason| Problem { part, reason };
        grammar::check(name, part, source).map_err(problem)?;
        let added = environment.add_template_owned(template(name, locale, suffix), source.to_owned());
        added.map_err(|error| problem(error.to_string()))?;
    }
    if channel == Channel::Email && texts.html.is_some() && texts.text.is_none() {
        return Err(Problem { part: "html", reason: "needs `text` beside it, for both must say the same".to_owned() });
    }
    Ok(())
}

fn template(name: TemplateName, locale: Locale, suffix: &str) -> String {
    format!("{}.{}.{suffix}", name.as_str(), locale.tag())
}
