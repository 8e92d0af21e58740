//! The whole matrix of ways round: each row with the tests that try it, and whether it is closed,
//! by what, or open, and why. A row that nothing tries, or that says otherwise than its tests,
//! fails. `docs/bypass-matrix.md` is what is printed here.

use std::fmt::Write as _;

use crate::{far_routes, routes};

/// What becomes of a way.
enum Holds {
    /// By what.
    Closed(&'static str),
    /// By what where it is; where not, and what to do there.
    Partly(&'static str, &'static str),
}

use Holds::{Closed, Partly};

/// Tables of ways, by every caller, in the host's network namespace and in one of its own.
const ROUTES: &str = "routes";
const FAR: &str = "far_routes";
const TABLES: [&str; 2] = [ROUTES, FAR];

/// Where single tests are looked for.
const SOURCES: [&str; 12] = [
    include_str!("../kernel.rs"),
    include_str!("callers.rs"),
    include_str!("enrol.rs"),
    include_str!("gates.rs"),
    include_str!("leaving.rs"),
    include_str!("routes.rs"),
    include_str!("translated.rs"),
    include_str!("undoing.rs"),
    include_str!("unix_sockets.rs"),
    include_str!("wires.rs"),
    include_str!("../e2e/bypass.rs"),
    include_str!("../e2e/canary.rs"),
];

const LENT: &str = "neither_a_borrowed_socket_nor_another_namespace_nor_a_cgroup_below_leads_round";
const RAW: &str =
    "no NET_RAW with the host's network: below the socket's hooks nothing looks at its packets";
const ADMIN: &str = "in the host's network: no NET_ADMIN";
const WIRE: &str = "a filter at the host's end of the wire";
const SOCKETS: &str = "no_socket_in_a_workload_s_network_reaches_a_database_whosever_it_is";
const FRAMES: &str =
    "no_frame_that_leaves_a_workload_s_network_reaches_a_database_whatever_made_it";
const NODE: &str = "in_the_node_wide_mode_the_agent_reaches_the_database_and_no_other_process_does";
const FORWARDED: &str = "in_the_node_wide_mode_nothing_is_forwarded_to_a_database_by_any_device";
const LSM: &str = "BPF's LSM, where the kernel runs it (`bpf` in its lsm= list)";
const FAMILIES: &str = "families_that_lead_off_the_node_are_refused_where_the_kernel_can";
const BESIDE: &str = "beside_itself_in_a_delegated_subtree_nobody_escapes_a_label_at_its_root";
const CGROUPS: &str =
    "in the host's network: mount cgroups read-only; an alarm is raised within a second";

type Row = (u8, &'static str, Holds, &'static [&'static str]);

#[rustfmt::skip]
const MATRIX: &[Row] = &[
    (1, "connect: plain, non-blocking, once more, from a bound port, marked, by a 32-bit call",
        Closed("hook on connect, IPv4"),
        &[ROUTES, "every_form_of_an_address_leads_to_the_agent_with_the_right_origin"]),
    (2, "IPv4 inside IPv6", Closed("hook on connect, IPv6"), &[ROUTES]),
    (3, "IPv6; an IPv6 socket that turns into an IPv4 one", Closed("both hooks on connect"), &[ROUTES]),
    (4, "TCP fast open, three ways", Closed("both hooks on connect"), &[ROUTES]),
    (5, "multipath TCP, also with fast open", Closed("both hooks on connect"),
        &[ROUTES, "multipath_tcp_is_redirected_too"]),
    (6, "a second path of multipath TCP, to a protected address that an allowed server names",
        Closed("the same hooks: each path connects"), &["a_second_path_to_a_protected_address_is_not_taken"]),
    (7, "a connection that goes on where another process left it (TCP_REPAIR)",
        Closed("hook on connect: what is sent goes to the agent, which knows no such connection"), &[FAR]),
    (8, "io_uring: connect, socket and connect, served by a thread of the kernel", Closed("hook on connect"), &[ROUTES]),
    (9, "a ring of an unlabelled parent, inherited",
        Partly(WIRE, "in the host's network: the workload is said to be partly governed; label before the first program"),
        &[FAR, SOCKETS, "what_cannot_be_cleaned_leaves_the_workload_partly_governed_until_its_process_ends"]),
    (10, "connected before the label",
        Closed("every descriptor is looked at when the label is put; second gate"),
        &["a_connection_from_before_the_label_is_cut_and_the_next_one_is_governed",
          "a_connection_from_before_the_label_is_cut_and_told_of",
          "a_process_that_is_moved_into_a_label_brings_no_connection_with_it",
          "a_connection_from_before_the_label_says_nothing_more_whoever_holds_it",
          "a_connection_from_before_the_label_is_ended_whoever_holds_it"]),
    (11, "made, and not connected, before the label", Closed("hook on connect, which asks the task as well"),
        &[FAR, LENT, "a_socket_keeps_its_label_and_a_task_lends_its_own"]),
    (12, "somebody else's connection, handed over or taken",
        Partly("a filter at the host's end of the wire; ended at the next look at the workload's files",
               "without such a wire, or from another network namespace, until that look: at most one period. Let nobody without a label share sockets with a workload; `guard.node_wide: on`"),
        &[FAR, SOCKETS, NODE, "a_connection_that_is_handed_into_a_label_is_cut_at_the_next_look"]),
    (13, "somebody else's socket, not connected", Closed("as 11"),
        &[LENT, "somebody_else_s_unconnected_socket_leads_to_the_agent_whoever_dials_with_it"]),
    (14, "a process without label on the node passes everything on",
        Partly("`guard.node_wide: on`", "otherwise the relay dials: deny other egress; the database takes nobody but the agent"),
        &[FAR, NODE]),
    (15, "raw IP with TCP by hand", Closed("hook on socket(); second gate"), &[ROUTES]),
    (16, "packet sockets, over a wire of its own", Closed(WIRE), &[FAR, FRAMES]),
    (17, "the same past the queueing discipline", Closed(WIRE), &[FAR, FRAMES]),
    (18, "AF_XDP, over a wire of its own", Closed(WIRE), &[FAR, FRAMES]),
    (19, "packet sockets, in the host's network namespace", Partly(LSM, RAW), &[FAR, FAMILIES]),
    (20, "past the queueing discipline, and AF_XDP, in the host's network namespace", Partly(LSM, RAW), &[FAR, FAMILIES]),
    (21, "a TUN device and a stack of its own", Partly(WIRE, ADMIN), &[FAR, FRAMES]),
    (22, "addresses rewritten on its own device", Partly(WIRE, ADMIN), &[FAR, FRAMES]),
    (23, "UDP by sendto, also with an address of no family", Closed("hooks on sendmsg()"), &[ROUTES]),
    (24, "UDP, connected", Closed("hooks on connect, which look at the protocol"), &[ROUTES]),
    (25, "UDP-Lite", Closed("hook on socket()"), &[ROUTES, "refused_sockets_are_told_of"]),
    (26, "ICMP as a tunnel", Closed("hook on socket()"), &[ROUTES]),
    (27, "another address of the same database", Closed("any address on a database port is led to the agent"), &[ROUTES]),
    (28, "another port of the same database",
        Closed("any port of a protected address is led to the agent"),
        &[ROUTES, "a_protected_address_is_protected_at_any_port_and_for_any_protocol"]),
    (29, "a service address that the workload's own namespace translates",
        Closed("second gate, which sees what it became; led to the agent when declared"),
        &["a_service_address_of_one_s_own_namespace_leads_nowhere_or_to_the_agent"]),
    (30, "a service address that the node translates",
        Partly("led to the agent when declared; `guard.node_wide: on`",
               "undeclared, and not on a database port: list it in `hosts` or `addresses`"),
        &["a_service_address_that_the_node_translates_leads_to_the_agent_once_it_is_declared", FORWARDED]),
    (31, "unspecified addresses, which mean loopback", Closed("hook on connect takes them for loopback"), &[ROUTES]),
    (32, "another loopback address, the node's own", Closed("any address on a database port"), &[ROUTES]),
    (33, "the database's host connects to the workload", Closed("second gate, inwards"),
        &["a_database_s_host_does_not_connect_to_a_workload", "a_database_s_host_reaches_no_workload_whoever_listens"]),
    (34, "source routes, routing headers, IP options", Closed("hook on setsockopt(); second gate"), &[ROUTES]),
    (35, "bound to a device", Closed("hook on connect: the agent, or nobody"), &[ROUTES]),
    (36, "a relay at an allowed address",
        Partly("`egress: databases-only`",
               "other egress open: it looks like any other service; the database takes nobody but the agent"),
        &["a_relay_at_an_allowed_address_is_closed_by_closing_all_other_egress",
          "where_only_databases_are_open_all_else_is_refused_but_what_is_allowed"]),
    (37, "a user and network namespace of its own, and a socket from before it",
        Closed("no way out of it; hooks go along with the cgroup"), &[FAR]),
    (38, "another network namespace", Closed("hooks go along with the cgroup"),
        &[LENT, "another_network_namespace_leads_nobody_round"]),
    (39, "a cgroup below the labelled one", Closed("labels are looked for upwards"),
        &[FAR, LENT, "a_label_counts_however_deep_the_task_and_is_refused_where_it_would_not"]),
    (40, "user 0 moves itself to another cgroup", Partly(WIRE, CGROUPS),
        &[FAR, LENT, SOCKETS, "a_process_that_leaves_raises_an_alarm_whoever_moves_it"]),
    (41, "others move themselves", Closed("the file system's permissions"), &[LENT, BESIDE]),
    (42, "beside, within a delegated subtree",
        Partly("a label on the delegation's root", "a label on one leaf only: label the root; an alarm is raised"),
        &["a_delegated_subtree_is_left_only_by_its_root", BESIDE]),
    (43, "a child made in another cgroup", Partly(WIRE, CGROUPS),
        &[FAR, SOCKETS, "a_child_that_leaves_before_it_runs_anything_raises_an_alarm"]),
    (44, "the unix socket of a local database, five spellings", 
        Partly("`guard.unix: allow-only`, where the kernel has the hook (Linux 6.7 and newer)",
               "otherwise, and by default: do not mount its directory into workloads"),
        &[FAR, "only_unix_sockets_that_are_named_so_are_reached",
          "the_allow_list_is_kept_while_there_is_no_agent_and_goes_with_the_setting",
          "who_can_put_another_socket_at_an_allowed_name_is_partly_governed"]),
    (45, "AF_VSOCK", 
        Partly(LSM, "elsewhere: no IP socket: deny it by seccomp, with io_uring denied as well"), &[ROUTES, FAMILIES]),
    (46, "dialling the agent itself", Closed("no destination on record: closed unread"),
        &["a_dial_to_the_agent_itself_has_no_origin", "nobody_who_dials_the_agent_itself_is_served"]),
    (47, "taking the agent's port while it restarts", Closed("hooks on bind()"),
        &["the_gates_and_the_port_are_kept_while_there_is_no_agent", "the_agent_itself_is_exempt_and_nobody_else",
          "nobody_takes_the_agent_s_port_while_it_restarts"]),
    (48, "detaching programs, emptying maps",
        Partly("permissions of the pins; the kernel, for who is no administrator",
               "SYS_ADMIN, or user 0 that sees the pins: such a workload is not governed; the canary tells"),
        &["only_user_0_who_sees_the_pins_and_an_administrator_undo_the_redirect", "the_same_undo_it_from_a_namespace_of_their_own_and_nobody_else_does"]),
    (49, "programs of its own at a cgroup below",
        Closed("the agent's hook runs last; with BPF and NET_ADMIN it could join sockets, as in 14"), &[FAR]),
    (50, "names: another resolver, a changed record, round robin, a literal address",
        Closed("addresses are guarded, not names; as 27"), &[ROUTES]),
    (51, "SCTP, DCCP, SMC, RDS, TIPC, KCM",
        Partly("hook on socket(), for what goes over IP; BPF's LSM for the others, where the kernel runs it",
               "the others, where a kernel has them and does not: deny them by seccomp"),
        &[FAMILIES, "other_families_over_ip_are_refused_where_a_kernel_has_them"]),
];

const HEAD: &str = "\
# Ways round, one by one

Every way by which a labelled workload could reach a protected database without the agent: what becomes of it, and which test tries it. Each
is gone by an unlabelled process first, which must reach the database, or nothing is proved; what came back then says who was reached. The tables `routes` and
`far_routes` go each way as root, with a container's default capabilities and as nobody, in the host's network namespace and in one of the
workload's own, and print every answer; so do the tests of `callers.rs`. What a kernel has not got is said so there. [bypass.md](bypass.md) says what to do about what is open.

This page is checked by the test `each_way_round_is_tried_and_said_to_be_closed_or_open`, and written by it with `NODE_AGENT_WRITE_MATRIX=1`.

| | way | holds | by what, or what to do | tried by |
| --- | --- | --- | --- | --- |
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (number, way, holds, tests) in MATRIX {
        let (word, why) = match holds {
            Closed(by) => ("closed", (*by).to_owned()),
            Partly(by, gap) => ("partly", format!("{by}. Open: {gap}")),
        };
        let tests: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
        let tests = tests.join(", ");
        writeln!(page, "| {number} | {way} | {word} | {why} | {tests} |").unwrap();
    }
    page
}

#[test]
fn each_way_round_is_tried_and_said_to_be_closed_or_open() {
    let numbers: Vec<u8> = MATRIX.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=51).collect::<Vec<u8>>());
    let mut wrong = Vec::new();
    for (number, way, holds, tests) in MATRIX {
        // As the table of its name, or what other name, would have it.
        let as_27 = if *number == 50 { 27 } else { *number };
        if tests.is_empty() {
            wrong.push(format!("{number} {way}: nothing tries it"));
        }
        for test in *tests {
            let there = match *test {
                ROUTES => routes::rows().any(|row| row == as_27),
                FAR => far_routes::rows().any(|(row, _)| row == *number),
                name => {
                    let head = format!("fn {name}()");
                    SOURCES.iter().any(|source| source.contains(&head))
                }
            };
            if !there {
                wrong.push(format!("{number} {way}: not found: {test}"));
            }
        }
        let seen: Vec<bool> = far_routes::rows()
            .filter(|(row, _)| row == number)
            .map(|(_, open)| open)
            .collect();
        let said = match holds {
            Closed(_) => !seen.contains(&true),
            Partly(..) => true,
        };
        if !said {
            wrong.push(format!("{number} {way}: its test says otherwise"));
        }
    }
    let rows = routes::rows().map(|row| (row, ROUTES));
    let rows = rows.chain(far_routes::rows().map(|(row, _)| (row, FAR)));
    for (row, table) in rows {
        let known = MATRIX.iter().find(|(number, ..)| *number == row);
        if !known.is_some_and(|(.., tests)| tests.contains(&table)) {
            wrong.push(format!("{row}: in {table}, and not named here"));
        }
    }
    assert!(TABLES.iter().all(|table| HEAD.contains(table)));
    assert!(wrong.is_empty(), "{wrong:#?}");

    let page = page();
    println!("{page}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bypass-matrix.md");
    if std::env::var_os("NODE_AGENT_WRITE_MATRIX").is_some_and(|v| v == "1") {
        std::fs::write(path, &page).unwrap();
        return;
    }
    assert!(
        page == include_str!("../../../docs/bypass-matrix.md"),
        "docs/bypass-matrix.md is not what the tests say: NODE_AGENT_WRITE_MATRIX=1 writes it"
    );
}
