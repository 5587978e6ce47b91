// What the attribute writes for `function.rs`; written by the tests of idempotent-macros.
#![allow(unused_imports)]

//! A method with every option that a function has.
use idempotent_runtime::{Error, Idempotency, idempotent_fn};
pub struct Consumer {
    idempotency: Idempotency,
}
pub struct Paid {
    id: u64,
    tenant: String,
    amount: u64,
    currency: String,
}
impl Consumer {
    /// Doc comments, visibility and other attributes stay.
    pub async fn on_paid(&self, event: Paid) -> Result<String, Error> {
        let __idempotent_values = ::idempotent_runtime::__private::values::<
            Result<String, Error>,
        >();
        let (__idempotent_call, attempt) = ::idempotent_runtime::__private::Function::new(
                &self.idempotency,
                {
                    static __IDEMPOTENT_SITE: ::idempotent_runtime::__private::Site = ::idempotent_runtime::__private::Site::new(
                        ::idempotent_runtime::__private::Spec::new(
                                ::core::concat!(::core::module_path!(), "::on_paid"),
                            )
                            .ttl(
                                ::idempotent_runtime::__private::Duration::new(604800, 0),
                            )
                            .lease(::idempotent_runtime::__private::Duration::new(30, 0))
                            .wait(
                                ::idempotent_runtime::__private::Duration::new(1, 500000000),
                            )
                            .on_abandoned(
                                ::idempotent_runtime::__private::OnAbandoned::Halt,
                            )
                            .on_store_error(
                                ::idempotent_runtime::__private::OnStoreError::Bypass,
                            )
                            .on_record_failure(
                                ::idempotent_runtime::__private::OnRecordFailure::Withhold,
                            )
                            .operation("ship_order"),
                        ::core::concat!(
                            ::core::file!(), ":", ::core::line!(), ":", ::core::column!()
                        ),
                    );
                    &__IDEMPOTENT_SITE
                },
            )
            .scope(&event.tenant)
            .fingerprint(&(&&event.amount, &&event.currency))
            .key(&event.id)
            .attempt(&__idempotent_values);
        ::idempotent_runtime::__private::run_function(
                __idempotent_call,
                move || async move {
                    if let ::core::option::Option::Some(__idempotent_result) = ::core::option::Option::None::<
                        Result<String, Error>,
                    > {
                        return __idempotent_result;
                    }
                    let event = event;
                    let _ = &event;
                    let Paid { id, .. } = event;
                    Ok(format!("shipped {id} in attempt {}", attempt.number()))
                },
                __idempotent_values,
            )
            .await
    }
}
async fn greet(idempotency: &Idempotency, names: &[String]) -> Result<usize, Error> {
    let __idempotent_values = ::idempotent_runtime::__private::values::<
        Result<usize, Error>,
    >();
    let __idempotent_call = ::idempotent_runtime::__private::Function::new(
            &idempotency,
            {
                static __IDEMPOTENT_SITE: ::idempotent_runtime::__private::Site = ::idempotent_runtime::__private::Site::new(
                    ::idempotent_runtime::__private::Spec::new(
                        ::core::concat!(::core::module_path!(), "::greet"),
                    ),
                    ::core::concat!(
                        ::core::file!(), ":", ::core::line!(), ":", ::core::column!()
                    ),
                );
                &__IDEMPOTENT_SITE
            },
        )
        .key_content(&names);
    ::idempotent_runtime::__private::run_function(
            __idempotent_call,
            move || async move {
                if let ::core::option::Option::Some(__idempotent_result) = ::core::option::Option::None::<
                    Result<usize, Error>,
                > {
                    return __idempotent_result;
                }
                let idempotency = idempotency;
                let _ = &idempotency;
                let names = names;
                let _ = &names;
                Ok(names.len())
            },
            __idempotent_values,
        )
        .await
}
pub fn main() {
    let _ = Consumer::on_paid;
    let _ = greet;
}
