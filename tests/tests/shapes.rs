//! Shapes of arguments, each in functions with one body: bare, a handler in a task of its own and one in its
//! caller's task, a guarded function, the last argument of a handler, and each of these with an option that
//! speaks of it. What each drops, and when, is compared.
#![forbid(unsafe_code)]
#![allow(
    dead_code,
    unused_parens,
    unused_variables,
    clippy::unwrap_used,
    clippy::no_effect_underscore_binding,
    clippy::used_underscore_binding,
    clippy::toplevel_ref_arg,
    clippy::ignored_unit_patterns,
    clippy::trivially_copy_pass_by_ref
)] // what is held is not read

use std::cell::RefCell;

use idempotent_runtime::{Error, Guarded, Idempotency, MemoryStore, idempotent, idempotent_fn};
use tokio::task::yield_now;

thread_local! {
    static DROPPED: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

/// Notes its name when it is dropped.
struct Noted(&'static str);

impl Drop for Noted {
    fn drop(&mut self) {
        DROPPED.with_borrow_mut(|dropped| dropped.push(self.0));
    }
}

struct One(Noted);
struct Two(Noted, Noted);
struct Pair {
    left: Noted,
    right: Noted,
    id: u64,
}
/// Nothing can be moved out of it.
struct Sealed {
    part: Noted,
    id: u64,
}

impl Drop for Sealed {
    fn drop(&mut self) {
        DROPPED.with_borrow_mut(|dropped| dropped.push("sealed"));
    }
}

enum Either {
    A(Noted),
    B(Noted),
}

struct Nested {
    one: One,
    pair: Pair,
}

fn one() -> One {
    One(Noted("one"))
}

fn two() -> Two {
    Two(Noted("two.0"), Noted("two.1"))
}

fn pair() -> Pair {
    Pair { left: Noted("left"), right: Noted("right"), id: 7 }
}

fn sealed() -> Sealed {
    Sealed { part: Noted("part"), id: 7 }
}

fn nested() -> Nested {
    Nested { one: one(), pair: pair() }
}

fn three() -> [Noted; 3] {
    ["0", "1", "2"].map(Noted)
}

fn dropped() -> Vec<&'static str> {
    DROPPED.take()
}

macro_rules! shapes {
    ($($name:ident: [$($pat:tt)*]: $ty:ty = $make:expr, key $key:expr => $body:expr;)*) => {
        mod bare {
            use super::*;
            $(pub(super) async fn $name(first: Noted, $($pat)*: $ty, _: Noted, last: Noted) {
                let inside = Noted("body");
                yield_now().await;
                $body;
                yield_now().await;
                drop(last);
            })*
        }
        mod handlers {
            use super::*;
            $(#[idempotent(key = header("Idempotency-Key"))]
            pub(super) async fn $name(first: Noted, $($pat)*: $ty, _: Noted, last: Noted) {
                let inside = Noted("body");
                yield_now().await;
                $body;
                yield_now().await;
                drop(last);
            })*
        }
        mod inline {
            use super::*;
            $(#[idempotent(key = header("Idempotency-Key"), spawn = false)]
            pub(super) async fn $name(first: Noted, $($pat)*: $ty, _: Noted, last: Noted) {
                let inside = Noted("body");
                yield_now().await;
                $body;
                yield_now().await;
                drop(last);
            })*
        }
        mod functions {
            use super::*;
            $(#[idempotent_fn(key = 1 + first.0.len(), runtime = runtime)]
            pub(super) async fn $name(
                runtime: &Idempotency,
                first: Noted,
                $($pat)*: $ty,
                _: Noted,
                last: Noted,
            ) -> Result<(), Error> {
                let inside = Noted("body");
                yield_now().await;
                $body;
                yield_now().await;
                drop(last);
                Ok(())
            })*
        }
        mod handlers_named {
            use super::*;
            $(#[idempotent(key = (first.0, $key))]
            pub(super) async fn $name(first: Noted, $($pat)*: $ty, _: Noted, last: Noted) {
                let inside = Noted("body");
                yield_now().await;
                $body;
                yield_now().await;
                drop(last);
            })*
        }
        mod inline_named {
            use super::*;
            $(#[idempotent(key = (first.0, $key), spawn = false)]
            pub(super) async fn $name(first: Noted, $($pat)*: $ty, _: Noted, last: Noted) {
                let inside = Noted("body");
                yield_now().await;
                $body;
                yield_now().await;
                drop(last);
            })*
        }
        mod bare_last {
            use super::*;
            $(pub(super) async fn $name(_: Noted, first: Noted, $($pat)*: $ty) {
                let inside = Noted("body");
                yield_now().await;
                $body;
                yield_now().await;
                drop(first);
            })*
        }
        /// It is the last argument, which carries the guard.
        mod last {
            use super::*;
            $(#[idempotent(key = header("Idempotency-Key"))]
            pub(super) async fn $name(_: Noted, first: Noted, $($pat)*: $ty) {
                let inside = Noted("body");
                yield_now().await;
                $body;
                yield_now().await;
                drop(first);
            })*
        }
        mod last_named {
            use super::*;
            $(#[idempotent(key = (first.0, $key))]
            pub(super) async fn $name(_: Noted, first: Noted, $($pat)*: $ty) {
                let inside = Noted("body");
                yield_now().await;
                $body;
                yield_now().await;
                drop(first);
            })*
        }
        /// An option speaks of the argument too.
        mod named {
            use super::*;
            $(#[idempotent_fn(key = (first.0, $key), runtime = runtime)]
            pub(super) async fn $name(
                runtime: &Idempotency,
                first: Noted,
                $($pat)*: $ty,
                _: Noted,
                last: Noted,
            ) -> Result<(), Error> {
                let inside = Noted("body");
                yield_now().await;
                $body;
                yield_now().await;
                drop(last);
                Ok(())
            })*
        }
        $(#[tokio::test]
        async fn $name() {
            let noted = || (Noted("first"), Noted("ignored"), Noted("last"));
            let (first, ignored, last) = noted();
            bare::$name(first, $make, ignored, last).await;
            let expected = dropped();
            assert!(expected.len() >= 4, "{expected:?}");
            let (first, ignored, last) = noted();
            handlers::$name(first, $make, ignored, Guarded::unguarded(last)).await.direct();
            assert_eq!(dropped(), expected, "a handler");
            let (first, ignored, last) = noted();
            inline::$name(first, $make, ignored, Guarded::unguarded(last)).await.direct();
            assert_eq!(dropped(), expected, "a handler in its caller's task");
            let (first, ignored, last) = noted();
            handlers_named::$name(first, $make, ignored, Guarded::unguarded(last)).await.direct();
            assert_eq!(dropped(), expected, "a handler with an option");
            let (first, ignored, last) = noted();
            inline_named::$name(first, $make, ignored, Guarded::unguarded(last)).await.direct();
            assert_eq!(dropped(), expected, "the same in its caller's task");
            let runtime = Idempotency::new(MemoryStore::new());
            let (first, ignored, last) = noted();
            functions::$name(&runtime, first, $make, ignored, last).await.unwrap();
            assert_eq!(dropped(), expected, "a function");
            let (first, ignored, last) = noted();
            named::$name(&runtime, first, $make, ignored, last).await.unwrap();
            assert_eq!(dropped(), expected, "a function with an option");

            let two = || (Noted("ignored"), Noted("first"));
            let (ignored, first) = two();
            bare_last::$name(ignored, first, $make).await;
            let expected = dropped();
            let (ignored, first) = two();
            last::$name(ignored, first, Guarded::unguarded($make)).await.direct();
            assert_eq!(dropped(), expected, "as the last argument");
            let (ignored, first) = two();
            last_named::$name(ignored, first, Guarded::unguarded($make)).await.direct();
            assert_eq!(dropped(), expected, "as the last argument, with an option");
        })*
    };
}
shapes! {
    plain: [one]: One = one(), key one.0.0 => yield_now().await;
    plain_moved: [one]: One = one(), key one.0.0 => drop(one);
    plain_part_moved: [pair]: Pair = pair(), key pair.id => drop(pair.left);
    plain_mutable: [mut one]: One = one(), key one.0.0 => drop(std::mem::replace(&mut one, One(Noted("other"))));
    plain_unused: [_one]: One = one(), key 7 => yield_now().await;
    plain_unused_used: [_one]: One = one(), key _one.0.0 => drop(_one);
    ignored: [_]: One = one(), key 7 => yield_now().await;
    ignored_inside: [One(_)]: One = one(), key 7 => yield_now().await;
    ignored_fields: [Pair { left: _, right: _, id: _ }]: Pair = pair(), key 7 => yield_now().await;
    ignored_rest: [Pair { .. }]: Pair = pair(), key 7 => yield_now().await;
    taken_apart: [Two(a, b)]: Two = two(), key (a.0, b.0) => yield_now().await;
    taken_apart_moved: [Two(a, b)]: Two = two(), key (a.0, b.0) => drop(a);
    taken_apart_mutable: [Two(mut a, b)]: Two = two(), key (a.0, b.0) => drop(std::mem::replace(&mut a, Noted("other")));
    taken_apart_ignored: [Two(a, _)]: Two = two(), key a.0 => yield_now().await;
    taken_apart_unused: [Two(_a, b)]: Two = two(), key b.0 => drop(b);
    fields: [Pair { left, right, id }]: Pair = pair(), key id => drop(right);
    fields_renamed: [Pair { left: l, right: r, id: _ }]: Pair = pair(), key (l.0, r.0) => drop(l);
    fields_rest: [Pair { left, .. }]: Pair = pair(), key left.0 => yield_now().await;
    fields_copied: [Pair { id, .. }]: Pair = pair(), key id => yield_now().await;
    fields_of_sealed: [Sealed { id, .. }]: Sealed = sealed(), key id => yield_now().await;
    ignored_sealed: [Sealed { part: _, id: _ }]: Sealed = sealed(), key 7 => yield_now().await;
    nested_parts: [Nested { one: One(inner), pair: Pair { left, .. } }]: Nested = nested(),
        key (inner.0, left.0) => drop(left);
    whole_and_part: [all @ Pair { id, .. }]: Pair = pair(), key (all.id, id) => drop(all);
    by_reference: [Pair { ref left, ref right, .. }]: Pair = pair(), key (left.0, right.0) => yield_now().await;
    by_mutable_reference: [Two(ref mut a, _)]: Two = two(), key a.0 => a.0 = "changed";
    array: [[a, b, c]]: [Noted; 3] = three(), key (a.0, b.0, c.0) => drop(b);
    array_ignored: [[_, b, _]]: [Noted; 3] = three(), key b.0 => yield_now().await;
    array_rest: [[a, ..]]: [Noted; 3] = three(), key a.0 => drop(a);
    tuple: [(a, (b, _))]: (Noted, (Noted, Noted)) = (Noted("0"), (Noted("1"), Noted("2"))),
        key (a.0, b.0) => drop(b);
    either: [(Either::A(inner) | Either::B(inner))]: Either = Either::B(Noted("b")),
        key inner.0 => yield_now().await;
    either_ignored: [(Either::A(_) | Either::B(_))]: Either = Either::A(Noted("a")),
        key 7 => yield_now().await;
    parenthesised: [(one)]: One = one(), key one.0.0 => drop(one);
    unit: [()]: () = (), key 7 => yield_now().await;
    boxed: [one]: Box<One> = Box::new(one()), key one.0.0 => drop(one);
    option: [one]: Option<One> = Some(one()), key one.as_ref().map(|one| one.0.0) => drop(one);
    closure: [get]: impl Fn() -> u64 + Send + 'static = || 7, key get() => yield_now().await;
    raw_name: [r#type]: One = one(), key r#type.0.0 => drop(r#type);
}
