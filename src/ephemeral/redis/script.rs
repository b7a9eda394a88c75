//! The scripts: one call per verdict, each the twin of a pure function.
//!
//! A script takes its keys (one, but for limits) and one JSON object and answers JSON, so the domain's own serde types
//! are the wire form. It is called by its digest and sent whole only when Redis does not know it
//! (first use, restart, fail-over): by `EVAL` under the same key, which a cluster routes to the
//! node that lacks it.

use std::sync::LazyLock;

use ::redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, cmd};

use super::link::Link;

/// One script, ready to be called.
pub(super) struct Script(::redis::Script, &'static str);

impl Script {
    fn new(text: &'static str) -> Self {
        Self(::redis::Script::new(text), text)
    }

    /// Runs on what stands under `keys`, all of one slot; the reply is JSON.
    pub(super) async fn run(&self, link: &Link, keys: &[String], ask: &str) -> Result<String, RedisError> {
        match link.query(&Self::call("EVALSHA", self.0.get_hash(), keys, ask)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                link.query(&Self::call("EVAL", self.1, keys, ask)).await
            }
            reply => reply,
        }
    }

    fn call(verb: &str, script: &str, keys: &[String], ask: &str) -> Cmd {
        let mut command = cmd(verb);
        command.arg(script).arg(keys.len()).arg(keys).arg(ask);
        command
    }
}

macro_rules! scripts {
    ($($name:ident = [$($part:literal),+];)*) => {$(
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!(concat!("../scripts/", $part, ".lua")), "\n"),+)));
    )*};
}

scripts! {
    EPOCH = ["prelude", "epoch"];
    RESERVE = ["prelude", "attempt_book", "reserve"];
    CONFIRM_LAPSED = ["prelude", "attempt_book", "confirm_lapsed"];
    SETTLE = ["prelude", "attempt_book", "settle"];
    SEED = ["prelude", "attempt_book", "seed"];
    CLEAR = ["prelude", "attempt_book", "clear"];
    LIFT = ["prelude", "attempt_book", "lift"];
    SEND_CODE = ["prelude", "code_book", "send_code"];
    GIVE_BACK_SEND = ["prelude", "code_book", "give_back_send"];
    GUESS_CODE = ["prelude", "code_book", "guess_code"];
    CONSUME_CODE = ["prelude", "code_book", "consume_code"];
    COUNT_MAIL = ["prelude", "count_mail"];
    CHECK_LIMITS = ["prelude", "check_limits"];
    COUNT_COMPARED = ["prelude", "count_compared"];
    GIVE_BACK_MAIL = ["prelude", "give_back_mail"];
    TAKE_BUDGET = ["prelude", "budget_book", "take_budget"];
    GIVE_BACK_BUDGET = ["prelude", "budget_book", "give_back_budget"];
    COUNT_VERIFIED = ["prelude", "budget_book", "count_verified"];
    BUDGET_USAGE = ["prelude", "budget_book", "budget_usage"];
    PUT_GRANT = ["prelude", "put_grant"];
    TAKE_GRANT = ["prelude", "take_grant"];
    REVOKE = ["prelude", "revoke"];
    REVOCATIONS = ["prelude", "revocations"];
}
