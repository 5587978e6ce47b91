//! The place for one option's value.

use syn::{Error, Ident};

use super::names::Name;
use crate::ctxt::Ctxt;

/// What was given for one option.
pub(crate) struct Slot<T> {
    first: Option<Ident>,
    value: Option<T>,
    is_repeated: bool,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { first: None, value: None, is_repeated: false }
    }
}

impl<T> Slot<T> {
    /// Takes the `value` given under `name`; notes what is wrong with it and if it is the second.
    ///
    /// Returns whether the value could be read.
    pub(crate) fn set(&mut self, ctxt: &mut Ctxt, value: syn::Result<T>, name: Name) -> bool {
        if let Some(first) = &self.first {
            if !self.is_repeated {
                ctxt.push(Error::new(first.span(), format!("`{name}` is given here first")));
                self.is_repeated = true;
            }
            ctxt.push(Error::new(
                name.span(),
                format!("`{name}` is given twice: keep one of them"),
            ));
        }
        self.first.get_or_insert(name.ident);
        let value = ctxt.ok(value);
        let is_readable = value.is_some();
        self.value = self.value.take().or(value);
        is_readable
    }

    /// Whether the option was given at all, readable or not.
    pub(crate) fn is_given(&self) -> bool {
        self.first.is_some()
    }

    pub(crate) fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Takes the value out.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.value.take()
    }

    pub(crate) fn into_value(self) -> Option<T> {
        self.value
    }
}
