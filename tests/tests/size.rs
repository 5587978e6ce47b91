//! What a guarded body takes: its future, and the room on a stack, beside the same function without the
//! attribute.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)] // tests only

use std::{
    env,
    hint::black_box,
    mem::size_of_val,
    process::{Command, Stdio},
    thread,
};

use axum::{Extension, Router, routing::post as on_post};
use http::StatusCode;
use idempotent_runtime::{Error, Guarded, Idempotency, MemoryStore, idempotent, idempotent_fn};
use idempotent_tests::post;
use tokio::{runtime::Builder, task::yield_now};

/// Holds so many bytes while it waits.
macro_rules! body {
    () => {{
        let held = black_box([7u8; BYTES]);
        yield_now().await;
        black_box(&held)[BYTES / 2].to_string()
    }};
}

async fn bare<const BYTES: usize>() -> String {
    body!()
}

#[idempotent(key = header("Idempotency-Key"))]
async fn guarded<const BYTES: usize>() -> String {
    body!()
}

#[idempotent(key = header("Idempotency-Key"), operation = "inline", spawn = false)]
async fn inline<const BYTES: usize>() -> String {
    body!()
}

#[idempotent_fn(key = key, operation = "function", runtime = runtime)]
async fn function<const BYTES: usize>(runtime: &Idempotency, key: u64) -> Result<String, Error> {
    Ok(body!())
}

/// The future of a guarded body is at most a KiB larger than that of a bare one.
#[test]
fn a_body_is_held_once() {
    const BYTES: usize = 64 * 1024;
    let runtime = Idempotency::new(MemoryStore::new());
    let most = size_of_val(&bare::<BYTES>()) + 1024;
    for (name, size) in [
        ("guarded", size_of_val(&guarded::<BYTES>(Guarded::unguarded(())))),
        ("inline", size_of_val(&inline::<BYTES>(Guarded::unguarded(())))),
        ("function", size_of_val(&function::<BYTES>(&runtime, 1))),
    ] {
        println!("{name}: {size} bytes, a bare one has {}", most - 1024);
        assert!(size <= most, "{name}: {size} bytes, at most {most}");
    }
}

const SHAPE: &str = "IDEMPOTENT_TEST_SHAPE";

/// Not a test: what a child process does, which overflows its stack or does not.
#[test]
fn child() {
    let Ok(shape) = env::var(SHAPE) else { return };
    let (shape, kib) = shape.rsplit_once(' ').unwrap();
    let (shape, kib) = (shape.to_owned(), kib.parse::<usize>().unwrap());
    macro_rules! run {
        ($($kib:literal)*) => {
            match kib {
                $($kib => run::<{ $kib * 1024 }>(&shape),)*
                _ => panic!("no such size"),
            }
        };
    }
    let on_a_small_stack = thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(move || {
        run!(40 60 80 100 120 140 160 180 200 220 240 260 280 300 320 340 360 380 400 440 480 520 560 600 640 680 720 760 800 900 1000);
    });
    on_a_small_stack.unwrap().join().unwrap();
}

const SIZES: [usize; 31] = [
    40, 60, 80, 100, 120, 140, 160, 180, 200, 220, 240, 260, 280, 300, 320, 340, 360, 380, 400,
    440, 480, 520, 560, 600, 640, 680, 720, 760, 800, 900, 1000,
];

fn run<const BYTES: usize>(shape: &str) {
    let idempotency = Idempotency::new(MemoryStore::new());
    let executor = Builder::new_current_thread().enable_all().build().unwrap();
    let app =
        |handler| Router::<()>::new().route("/", handler).layer(Extension(idempotency.clone()));
    let answer = |app: Router| {
        // As a server does, each request in a task.
        let request = async move { post("/").key("k").send(&app).await };
        let answer = executor.block_on(async { tokio::spawn(request).await.unwrap() });
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "7"));
    };
    match shape {
        "bare" => answer(app(on_post(bare::<BYTES>))),
        "guarded" => answer(app(on_post(guarded::<BYTES>))),
        "inline" => answer(app(on_post(inline::<BYTES>))),
        "function" => {
            let called = executor.block_on(async move {
                let call = async move { function::<BYTES>(&idempotency, 1).await };
                tokio::spawn(call).await.unwrap()
            });
            assert_eq!(called.unwrap(), "7");
        }
        "bare function" => {
            let called =
                executor.block_on(async move { tokio::spawn(bare::<BYTES>()).await.unwrap() });
            assert_eq!(called, "7");
        }
        _ => panic!("no such shape"),
    }
}

/// The largest of the sizes that a stack of 2 MiB has room for.
fn most(shape: &str) -> usize {
    let survives = |kib: &usize| {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["child", "--exact"]).env(SHAPE, format!("{shape} {kib}"));
        child.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    };
    let at = SIZES.partition_point(|kib| survives(kib));
    SIZES[at.checked_sub(1).unwrap()]
}

/// On the stack of a thread, a guarded body has room for nine tenths of the locals of a bare one.
#[test]
fn a_guarded_body_has_the_room_of_a_bare_one() {
    for (bare, guarded) in [("bare", "guarded"), ("bare", "inline"), ("bare function", "function")]
    {
        let (bare, room) = (most(bare), most(guarded));
        println!("{guarded}: locals of {room} KiB, a bare one of {bare}");
        assert!(room * 10 >= bare * 9, "{guarded}: {room} KiB, a bare one has {bare}");
    }
}
