//! One member of a document that cannot be taken, told so that programs and people find it.

use std::borrow::Cow;

use serde_path_to_error::{Path, Segment};

use super::settings::BadSetting;

/// One member of a document that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer (RFC 6901) to it; empty for the document as a whole.
    pub pointer: String,
    /// A stable word for programs: `missing`, `wrong_type`, `unknown_member`, `invalid`, …
    pub code: &'static str,
    /// The same for people; repeats nothing that was sent.
    pub message: Cow<'static, str>,
}

impl Fault {
    /// A fault of the member at `pointer`.
    pub fn new(pointer: impl Into<String>, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { pointer: pointer.into(), code, message: message.into() }
    }

    /// The same, where the document that was judged is a member of another, at this pointer.
    #[must_use]
    pub fn below(self, pointer: &str) -> Self {
        Self { pointer: format!("{pointer}{}", self.pointer), ..self }
    }

    /// What serde says about a shape. serde_json tells its kinds of error apart only in words; tests
    /// hold it to them.
    #[must_use]
    pub fn of_shape(path: &Path, error: &str) -> Self {
        let quoted = error.split('`').nth(1).unwrap_or_default();
        let pointer = pointer(path);
        if error.starts_with("missing field") {
            Self::new(format!("{pointer}/{}", escape(quoted)), "missing", "This member is required.")
        } else if error.starts_with("unknown field") {
            // The path already ends with the unknown member.
            Self::new(pointer, "unknown_member", "There is no such member.")
        } else if error.starts_with("invalid type") {
            Self::new(pointer, "wrong_type", "This member has the wrong type.")
        } else {
            Self::new(pointer, "invalid", "This member is not valid.")
        }
    }
}

impl From<BadSetting> for Fault {
    /// The dotted path stands in the message too: it is what documentation calls a setting.
    fn from(bad: BadSetting) -> Self {
        let mut pointer = String::new();
        for step in bad.path.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
            pointer.push('/');
            pointer.push_str(&escape(step));
        }
        Self::new(pointer, "invalid", bad.to_string())
    }
}

impl From<Fault> for BadSetting {
    /// `/sms/senders/0/from` is `sms.senders[0].from`.
    fn from(fault: Fault) -> Self {
        let mut path = String::new();
        for step in fault.pointer.split('/').skip(1) {
            let is_index = step.bytes().all(|byte| byte.is_ascii_digit());
            let step = step.replace("~1", "/").replace("~0", "~");
            let (before, after) = match (is_index, path.is_empty()) {
                (true, _) => ("[", "]"),
                (false, true) => ("", ""),
                (false, false) => (".", ""),
            };
            path.extend([before, &step, after]);
        }
        Self { path: path.into(), reason: fault.message.into_owned() }
    }
}

fn pointer(path: &Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Map { key } => format!("/{}", escape(key)),
            Segment::Seq { index } => format!("/{index}"),
            Segment::Enum { .. } | Segment::Unknown => String::new(),
        })
        .collect()
}

/// A member's name as a step of a JSON pointer.
#[must_use]
pub fn escape(name: &str) -> Cow<'_, str> {
    if name.contains(['~', '/']) { name.replace('~', "~0").replace('/', "~1").into() } else { name.into() }
}
