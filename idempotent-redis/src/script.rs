//! The Lua scripts, one for each step, and how they are called.

use std::sync::LazyLock;

use redis::{Cmd, ToRedisArgs};

/// One step of the store contract.
#[derive(Debug)]
pub(crate) struct Script {
    code: &'static str,
    sha1: String,
    /// Whether the step may be sent again when its answer was lost: it then finds what it did.
    pub(crate) repeatable: bool,
}

macro_rules! script {
    ($name:ident, $file:literal, repeatable: $repeatable:literal) => {
        pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            let code = concat!(include_str!("scripts/common.lua"), include_str!($file));
            Script::new(code, $repeatable)
        });
    };
}

script!(ACQUIRE, "scripts/acquire.lua", repeatable: true);
// A repetition is told that the lease is lost; the engine then reads its own record.
script!(COMPLETE, "scripts/complete.lua", repeatable: false);
script!(RENEW, "scripts/renew.lua", repeatable: true);
script!(RELEASE, "scripts/release.lua", repeatable: false);
script!(FREE, "scripts/free.lua", repeatable: false);
script!(ABANDON, "scripts/abandon.lua", repeatable: true);
script!(RESERVE_STEP, "scripts/reserve_step.lua", repeatable: true);
script!(SAVE_STEP, "scripts/save_step.lua", repeatable: true);
script!(INSPECT, "scripts/inspect.lua", repeatable: true);
// A repetition finds nothing, and may meet somebody else's lease.
script!(FORGET, "scripts/forget.lua", repeatable: false);

impl Script {
    fn new(code: &'static str, repeatable: bool) -> Self {
        let sha1 = redis::Script::new(code).get_hash().to_owned();
        Self { code, sha1, repeatable }
    }

    /// The call of a script that the server has seen before.
    pub(crate) fn by_hash(&self, call: &ScriptCall<'_>) -> Cmd {
        call.command("EVALSHA", &self.sha1)
    }

    /// The call of a script that the server has not seen, or has lost: it remembers it from now on.
    pub(crate) fn by_code(&self, call: &ScriptCall<'_>) -> Cmd {
        call.command("EVAL", self.code)
    }
}

/// The key and the arguments of one call.
pub(crate) struct ScriptCall<'a> {
    pub(crate) key: &'a str,
    pub(crate) arguments: &'a [&'a dyn Argument],
    /// Comes back at the head of the answer.
    pub(crate) number: u64,
}

impl ScriptCall<'_> {
    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(1).arg(self.key);
        for argument in self.arguments {
            argument.add_to(&mut command);
        }
        command.arg(self.number);
        command
    }
}

/// Something that a command takes. `ToRedisArgs` itself cannot be a trait object.
pub(crate) trait Argument: Sync {
    fn add_to(&self, command: &mut Cmd);
}

impl<T: ToRedisArgs + Sync> Argument for T {
    fn add_to(&self, command: &mut Cmd) {
        command.arg(self);
    }
}
