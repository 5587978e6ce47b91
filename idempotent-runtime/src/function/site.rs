//! Where a guarded function stands, and whether its name is its own.

use std::{
    collections::HashMap,
    panic::Location,
    sync::{LazyLock, Mutex, OnceLock},
};

use crate::{error::Error, settings::Spec, sync::lock};

/// One guarded function of the program: its options and its place.
///
/// The attribute sees a function's name and its module, not the type that a method belongs to. Two
/// methods of one name in one module would have one operation, and the second would be answered with
/// the record of the first. So the first call of each function says where it stands, and both are
/// refused as soon as there are two places. An `operation = "…"` is shared on purpose.
#[derive(Debug)]
pub struct Site {
    spec: Spec,
    place: &'static Location<'static>,
    /// The same as text, once somebody has to read it.
    place_text: OnceLock<String>,
    /// Whether `check` has seen this site.
    is_known: OnceLock<()>,
    /// Where another function of the same name stands.
    other: OnceLock<&'static str>,
    /// The first type whose method it was called as.
    implementor: OnceLock<&'static str>,
}

static SITES: LazyLock<Mutex<HashMap<&'static str, &'static Site>>> = LazyLock::new(Mutex::default);

#[allow(missing_docs, clippy::missing_docs_in_private_items)] // for generated code
impl Site {
    #[track_caller]
    pub const fn new(spec: Spec) -> Self {
        Self {
            spec,
            place: Location::caller(),
            place_text: OnceLock::new(),
            is_known: OnceLock::new(),
            other: OnceLock::new(),
            implementor: OnceLock::new(),
        }
    }

    pub(super) fn spec(&'static self) -> &'static Spec {
        &self.spec
    }

    pub(super) fn operation(&self) -> &'static str {
        self.spec.operation.unwrap_or(self.spec.handler)
    }

    fn place(&'static self) -> &'static str {
        self.place_text.get_or_init(|| self.place.to_string())
    }

    /// An error where another function has the same name.
    pub(super) fn check(&'static self) -> Result<(), Error> {
        self.is_known.get_or_init(|| self.introduce());
        match self.other.get() {
            None => Ok(()),
            Some(other) => {
                let (operation, place) = (self.operation(), self.place());
                Err(Error::OperationAmbiguous { operation, place, other })
            }
        }
    }

    /// An error where it was called as the method of another type before: a method that a trait provides is
    /// one function for all who implement it. Of a generic type the parameters do not count.
    pub(super) fn check_implementor(&'static self, name: &'static str) -> Result<(), Error> {
        let base = |name: &'static str| name.split('<').next().unwrap_or(name);
        let first = *self.implementor.get_or_init(|| name);
        match self.spec.operation.is_some() || base(first) == base(name) {
            true => Ok(()),
            false => Err(Error::OperationAmbiguous {
                operation: self.operation(),
                place: name,
                other: first,
            }),
        }
    }

    fn introduce(&'static self) {
        if self.spec.operation.is_some() {
            return;
        }
        let first = *lock(&SITES).entry(self.spec.handler).or_insert(self);
        // Not by their places, which are those of a macro where one writes both.
        if !std::ptr::eq(first, self) {
            tracing::error!(
                operation = self.spec.handler,
                first = first.place(),
                second = self.place(),
                "two functions have one name: give each an `operation = \"…\"`"
            );
            let _ = first.other.set(self.place());
            let _ = self.other.set(first.place());
        }
    }
}
