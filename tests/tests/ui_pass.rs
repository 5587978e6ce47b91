//! Handlers of every shape that the attribute has to take: each compiles without a warning, mounts
//! on a router where it can, and runs.
//!
//! Every case is a program of its own, and a module here, so that all of them are built at once.

// What the workspace asks of a library's looks does not concern programs.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

macro_rules! cases {
    ($($(#[$attr:meta])* $name:ident = $path:literal;)+) => {
        $(
            $(#[$attr])*
            #[path = $path]
            mod $name;

            #[test]
            fn $name() {
                $name::main();
            }
        )+

        #[test]
        fn every_file_is_a_case() {
            let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
            let count = |folder| std::fs::read_dir(root.join(folder)).unwrap().count();
            assert_eq!(count("ui/pass") + count("expansion"), [$($path),+].len());
        }
    };
}
cases! {
    arguments_0_to_16 = "../ui/pass/arguments_0_to_16.rs";
    associated_function = "../ui/pass/associated_function.rs";
    attributes_and_cfg = "../ui/pass/attributes_and_cfg.rs";
    crate_path = "../ui/pass/crate_path.rs";
    debug_handler = "../ui/pass/debug_handler.rs";
    drop_order = "../ui/pass/drop_order.rs";
    dropped_as_before = "../ui/pass/dropped_as_before.rs";
    extractor_attempt = "../ui/pass/extractor_attempt.rs";
    extractor_bytes_string_form = "../ui/pass/extractor_bytes_string_form.rs";
    extractor_extension = "../ui/pass/extractor_extension.rs";
    extractor_json = "../ui/pass/extractor_json.rs";
    extractor_of_ones_own = "../ui/pass/extractor_of_ones_own.rs";
    extractor_option_and_result = "../ui/pass/extractor_option_and_result.rs";
    extractor_parts_only = "../ui/pass/extractor_parts_only.rs";
    extractor_request = "../ui/pass/extractor_request.rs";
    extractor_tuple = "../ui/pass/extractor_tuple.rs";
    fn_async_trait = "../ui/pass/fn_async_trait.rs";
    fn_attributes = "../ui/pass/fn_attributes.rs";
    fn_free = "../ui/pass/fn_free.rs";
    fn_from_macro_rules = "../ui/pass/fn_from_macro_rules.rs";
    fn_generic = "../ui/pass/fn_generic.rs";
    fn_hygiene = "../ui/pass/fn_hygiene.rs";
    fn_methods = "../ui/pass/fn_methods.rs";
    fn_not_send = "../ui/pass/fn_not_send.rs";
    fn_options = "../ui/pass/fn_options.rs";
    fn_return_forms = "../ui/pass/fn_return_forms.rs";
    fn_runtime_forms = "../ui/pass/fn_runtime_forms.rs";
    fn_trait_impl = "../ui/pass/fn_trait_impl.rs";
    from_macro_rules = "../ui/pass/from_macro_rules.rs";
    generic = "../ui/pass/generic.rs";
    held_by_the_task = "../ui/pass/held_by_the_task.rs";
    hygiene = "../ui/pass/hygiene.rs";
    instrument = "../ui/pass/instrument.rs";
    key_expressions = "../ui/pass/key_expressions.rs";
    from_macro_rules_bodies = "../ui/pass/from_macro_rules_bodies.rs";
    hygiene_of_traits = "../ui/pass/hygiene_of_traits.rs";
    lints = "../ui/pass/lints.rs";
    options = "../ui/pass/options.rs";
    pattern_ignored = "../ui/pass/pattern_ignored.rs";
    pattern_mut = "../ui/pass/pattern_mut.rs";
    pattern_nested = "../ui/pass/pattern_nested.rs";
    pattern_ref = "../ui/pass/pattern_ref.rs";
    places = "../ui/pass/places.rs";
    return_early = "../ui/pass/return_early.rs";
    return_impl_into_response = "../ui/pass/return_impl_into_response.rs";
    return_nothing = "../ui/pass/return_nothing.rs";
    return_question_mark = "../ui/pass/return_question_mark.rs";
    router_answers = "../ui/pass/router_answers.rs";
    shapes = "../ui/pass/shapes.rs";
    spawn_false = "../ui/pass/spawn_false.rs";
    unit_test_direct = "../ui/pass/unit_test_direct.rs";
    utoipa_path = "../ui/pass/utoipa_path.rs";

    every_option = "../expansion/every_option.rs";
    function = "../expansion/function.rs";
    minimal = "../expansion/minimal.rs";
    zero_arguments = "../expansion/zero_arguments.rs";
    // What the attribute writes compiles as well as what it was written for.
    #[allow(clippy::all, clippy::pedantic)]
    every_option_expanded = "../expansion/every_option.expanded.rs";
    #[allow(clippy::all, clippy::pedantic)]
    function_expanded = "../expansion/function.expanded.rs";
    #[allow(clippy::all, clippy::pedantic)]
    minimal_expanded = "../expansion/minimal.expanded.rs";
    #[allow(clippy::all, clippy::pedantic)]
    zero_arguments_expanded = "../expansion/zero_arguments.expanded.rs";
}
