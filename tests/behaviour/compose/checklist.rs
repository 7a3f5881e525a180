//! What Compose's own end-to-end tests check, by number, and which behaviours of this
//! folder check the same.

use isola_tests::{Env, behaviours};

behaviours![Once each_behaviour_of_compose_has_its_test];

/// Number, what it is about, and the behaviours.
const CHECKLIST: &[(u8, &str, &[&str])] = &[
    (
        1,
        "an unchanged `up` is a no-op",
        &["compose_stack::up_again_does_nothing"],
    ),
    (
        2,
        "the label with the hash is that of `config --hash`",
        &["compose_stack::up_again_does_nothing"],
    ),
    (
        3,
        "scaling up never makes anew",
        &["compose_changes::scaling_up_and_down_keeps_the_others"],
    ),
    (
        4,
        "scaling down keeps what is up to date; numbers are used again",
        &["compose_changes::scaling_down_keeps_those_that_are_up_to_date"],
    ),
    (
        5,
        "--no-recreate with scale",
        &[
            "compose_changes::scaling_up_and_down_keeps_the_others",
            "compose_changes::scaling_down_keeps_those_that_are_up_to_date",
        ],
    ),
    (
        6,
        "--force-recreate --no-deps",
        &["compose_changes::force_recreate_leaves_dependencies_alone"],
    ),
    (
        7,
        "a changed subnet",
        &["compose_changes::a_changed_subnet_gives_new_addresses"],
    ),
    (
        8,
        "a changed volume; folders of the host do not count",
        &[
            "compose_changes::a_changed_volume_is_made_anew_after_approval",
            "compose_habits::what_folders_hold_does_not_count",
        ],
    ),
    (
        9,
        "orphans, COMPOSE_REMOVE_ORPHANS",
        &["compose_changes::orphans_go_when_asked_to"],
    ),
    (
        10,
        "`down SERVICE`",
        &["compose_changes::down_of_a_service_touches_nothing_else"],
    ),
    (
        11,
        "service_completed_successfully",
        &["compose_order::a_service_waits_for_anothers_end"],
    ),
    (
        12,
        "an unhealthy or ended dependency",
        &["compose_order::a_dependency_that_fails_fails_up"],
    ),
    (
        13,
        "an optional dependency",
        &["compose_order::an_optional_dependency_may_fail"],
    ),
    (
        14,
        "`up --wait` and its limit",
        &["compose_order::wait_means_healthy_and_has_a_limit"],
    ),
    (
        15,
        "--exit-code-from",
        &["compose_order::the_exit_code_of_one_ends_all"],
    ),
    (
        16,
        "--abort-on-container-exit and -failure",
        &["compose_order::the_exit_code_of_one_ends_all"],
    ),
    (
        17,
        "stop and start keep instances and leave one-off ones alone",
        &[
            "compose_stack::stop_and_start_keep_instances",
            "compose_habits::one_off_instances_are_left_alone",
        ],
    ),
    (
        18,
        "restart keeps instances",
        &["compose_stack::stop_and_start_keep_instances"],
    ),
    (
        19,
        "`run` with its flags and piped input",
        &["compose_single::run_makes_an_instance_of_its_own"],
    ),
    (
        20,
        "`exec`: exit code, --index",
        &["compose_stack::exec_reaches_an_instance_by_number"],
    ),
    (
        21,
        "variables: their order, comments, names alone",
        &["compose_files::variables_have_their_order"],
    ),
    (
        22,
        "env files of format raw",
        &["compose_files::variables_have_their_order"],
    ),
    (
        23,
        "canonical `config`, --no-interpolate",
        &["compose_habits::config_is_canonical"],
    ),
    (
        24,
        "profiles: none, by flag, by target, by .env",
        &[
            "compose_changes::profiles_choose",
            "compose_habits::profiles_from_everywhere",
        ],
    ),
    (
        25,
        "secrets and configs from everywhere, with owners and modes",
        &["compose_files::secrets_and_configs_are_files"],
    ),
    (
        26,
        "aliases, links, fixed addresses, MAC, network modes",
        &[
            "compose_single::names_and_addresses_are_as_asked_for",
            "compose_single::a_service_shares_anothers_network",
            "compose_habits::networks_of_others_are_joined",
        ],
    ),
    (
        27,
        "pools of ports with replicas, exposed ranges",
        &["compose_single::ports_of_replicas_come_from_a_pool"],
    ),
    (
        28,
        "pull policies, --ignore-pull-failures",
        &["compose_habits::images_are_pulled_as_policies_say"],
    ),
    (
        29,
        "logs: --index, across a restart, both streams apart",
        &[
            "compose_stack::logs_of_several_services_are_told_apart",
            "compose_stack::logs_are_followed_across_a_restart",
        ],
    ),
    (
        30,
        "hooks; unnamed volumes kept, or renewed with -V",
        &[
            "compose_order::hooks_run_in_order",
            "compose_changes::unnamed_volumes_are_kept_or_renewed",
        ],
    ),
];

fn each_behaviour_of_compose_has_its_test(_: &Env) {
    let all: Vec<String> = crate::ALL
        .iter()
        .flat_map(|(file, behaviours)| behaviours.iter().map(move |it| (file, it.name)))
        .map(|(file, name)| format!("{file}::{name}"))
        .collect();
    for (index, (number, what, names)) in CHECKLIST.iter().enumerate() {
        assert_eq!(usize::from(*number), index + 1, "{what}");
        assert!(!names.is_empty(), "{what}");
        for name in *names {
            assert!(all.iter().any(|known| known == name), "{number}: {name}");
        }
    }
    assert_eq!(CHECKLIST.len(), 30);
}
