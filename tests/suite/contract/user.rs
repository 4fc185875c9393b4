//! Users, groups and chroot: what only root may do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use fcgi_tests::{free_port, needs_root, proc, skip};

use super::{Case, NOBODY, SLEEP, text};

/// Every Debian has it: uid and gid 1.
const DAEMON: u32 = 1;

/// A system of its own for `Case::called_by`: `amy`, 2001, with primary group `amy`, 2001, is also in `web`, 2002, and
/// `log`, 2003; `rob`, 2009, has root's group. Nothing changes outside the new mount namespace.
fn users(case: &Case) -> String {
    let passwd = "root:x:0:0::/:/bin/sh\namy:x:2001:2001::/:/bin/sh\nrob:x:2009:0::/:/bin/sh\n";
    let group = "root:x:0:\namy:x:2001:\nweb:x:2002:amy\nlog:x:2003:amy,rob\n";
    let (passwd, group) = (case.file("passwd", passwd, 0o644), case.file("group", group, 0o644));
    let bind = format!(
        "mount --bind {} /etc/passwd && mount --bind {} /etc/group && exec \"$@\"",
        text(&passwd),
        text(&group)
    );
    format!("exec unshare -m /bin/sh -c '{bind}' sh")
}

fn may_unshare() -> bool {
    Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success())
}

/// A case among [`users`].
macro_rules! among_users {
    () => {{
        needs_root!();
        if !may_unshare() {
            skip!("no mount namespace can be made");
        }
        let mut case = Case::new();
        case.caller = users(&case);
        case
    }};
}

/// A folder with just enough in it to run sleep, its /dev/null being a file.
pub(super) fn jail(case: &Case) {
    let copy = "cp --parents -t jail /bin/sleep $(ldd /bin/sleep | grep -o '/[^ ]*')";
    case.folder("jail/dev");
    case.file("jail/dev/null", "", 0o666);
    let status = Command::new("/bin/sh").args(["-c", copy]).current_dir(case.dir.path()).status();
    assert!(status.is_ok_and(|status| status.success()), "{copy}");
}

#[test]
fn a_user_by_name() {
    needs_root!();
    let child = Case::new().child("-s sock -u nobody");
    assert_eq!((child.uid(), child.gid(), child.groups()), (NOBODY, NOBODY, vec![NOBODY]));
}

#[test]
fn a_user_by_number_is_the_user_of_that_name() {
    let case = among_users!();
    let child = case.child("-s sock -u 2001");
    assert_eq!((child.uid(), child.gid(), child.groups()), (2001, 2001, vec![2001, 2002, 2003]));
}

#[test]
fn a_user_brings_all_his_groups() {
    let case = among_users!();
    let child = case.child("-s sock -u amy");
    assert_eq!((child.uid(), child.gid(), child.groups()), (2001, 2001, vec![2001, 2002, 2003]));
}

#[test]
fn a_group_replaces_the_primary_one() {
    let case = among_users!();
    let child = case.child("-s sock -u amy -g 4711");
    assert_eq!((child.uid(), child.gid(), child.groups()), (2001, 4711, vec![2002, 2003, 4711]));
}

#[test]
fn a_group_by_name() {
    needs_root!();
    let child = Case::new().child("-s sock -u nobody -g daemon");
    assert_eq!((child.uid(), child.gid(), child.groups()), (NOBODY, DAEMON, vec![DAEMON]));
}

#[test]
fn a_group_alone_clears_the_supplementary_ones() {
    needs_root!();
    let case = Case::called_by("exec setpriv --groups=0,4,24");
    let child = case.child("-s sock -g daemon");
    assert_eq!((child.uid(), child.gid(), child.groups()), (0, DAEMON, vec![]));
}

#[test]
fn an_unknown_user_with_a_group_has_that_group_only() {
    needs_root!();
    let case = Case::called_by("exec setpriv --groups=0,4,24");
    let child = case.child("-s sock -u 54321 -g 54322");
    assert_eq!((child.uid(), child.gid(), child.groups()), (54321, 54322, vec![]));
}

#[test]
fn the_callers_groups_go() {
    needs_root!();
    let case = Case::called_by("exec setpriv --groups=0,4,24");
    assert_eq!(case.child("-s sock -u nobody").groups(), [NOBODY]);
}

#[test]
fn no_capability_is_left() {
    needs_root!();
    let child = Case::new().child("-s sock -u nobody");
    for set in ["CapPrm", "CapEff"] {
        assert_eq!(proc::status(child.pid(), set), ["0000000000000000"], "{set}");
    }
}

#[test]
fn without_a_user_nothing_changes() {
    needs_root!();
    let case = Case::called_by("exec setpriv --groups=0,4,24");
    let child = case.child("-s sock");
    assert_eq!((child.uid(), child.gid(), child.groups()), (0, 0, vec![0, 4, 24]));
}

#[test]
fn every_child_drops_its_rights() {
    needs_root!();
    let children: [_; 3] = Case::new().children("-s sock -u nobody -F 3");
    assert!(children.iter().all(|child| (child.uid(), child.gid()) == (NOBODY, NOBODY)));
}

#[test]
fn n_drops_its_rights_too() {
    needs_root!();
    let ended = Case::new().run_words(["-s", "sock", "-u", "nobody", "-n", "-f", "id -u; id -G"]);
    // `exec id -u` is all that runs.
    assert_eq!((ended.status, &ended.stdout[..]), (0, "65534\n"));
}

#[test]
fn the_socket_is_the_users() {
    needs_root!();
    let case = Case::called_by("umask 022; exec");
    case.child("-s sock -u nobody");
    assert_eq!(case.owner("sock"), (0o640, NOBODY, NOBODY));
}

#[test]
fn the_socket_is_the_groups() {
    needs_root!();
    let case = Case::called_by("umask 007; exec");
    case.child("-s sock -g daemon");
    assert_eq!(case.owner("sock"), (0o660, 0, DAEMON));
}

#[test]
fn an_owner_of_the_socket_brings_his_group() {
    needs_root!();
    let case = Case::new();
    let child = case.child("-s sock -U nobody -M 0600");
    assert_eq!(case.owner("sock"), (0o600, NOBODY, NOBODY));
    assert_eq!((child.uid(), child.gid()), (0, 0));
}

#[test]
fn a_group_of_the_socket_alone() {
    needs_root!();
    let case = Case::new();
    case.child("-s sock -G daemon -M 0660");
    assert_eq!(case.owner("sock"), (0o660, 0, DAEMON));
}

#[test]
fn owner_and_group_of_the_socket() {
    needs_root!();
    let case = Case::new();
    case.child("-s sock -U nobody -G daemon -M 0660");
    assert_eq!(case.owner("sock"), (0o660, NOBODY, DAEMON));
}

#[test]
fn owner_and_group_of_the_socket_by_number() {
    needs_root!();
    let case = Case::new();
    case.child("-s sock -U 4711 -G 4712 -M 0666");
    assert_eq!(case.owner("sock"), (0o666, 4711, 4712));
}

#[test]
fn the_sockets_owner_need_not_be_the_user() {
    needs_root!();
    let case = Case::new();
    let child = case.child("-s sock -u daemon -U nobody -M 0600");
    assert_eq!((case.owner("sock"), child.uid(), child.gid()), ((0o600, NOBODY, NOBODY), DAEMON, DAEMON));
}

#[test]
fn the_sockets_group_may_differ_alone() {
    needs_root!();
    let case = Case::new();
    case.child("-s sock -u daemon -G nogroup -M 0660");
    assert_eq!(case.owner("sock"), (0o660, DAEMON, NOBODY));
}

/// Socket and pid file are made by root, in a folder where nobody else may write.
#[test]
fn root_makes_what_the_user_could_not() {
    needs_root!();
    let case = Case::new();
    case.child("-s sock -P pid -u nobody");
    assert_eq!(case.owner("pid").1, 0);
}

#[test]
fn a_folder_the_user_may_not_enter_is_named() {
    needs_root!();
    let case = Case::new();
    fs::set_permissions(case.folder("private"), fs::Permissions::from_mode(0o700)).expect("the folder is ours");
    let line = case.refuses("-s sock -d private -u nobody -- /bin/true", "private");
    assert!(line.contains("Permission denied"), "{line}");
}

#[test]
fn a_program_the_user_may_not_execute_is_status_13() {
    needs_root!();
    let case = Case::new();
    case.file("mine", "#!/bin/sh\n", 0o700);
    assert_eq!(case.run_short("-s sock -u nobody -- ./mine").status, 13);
}

#[test]
fn unknown_names_are_refused_before_anything_is_made() {
    needs_root!();
    for option in ["-u", "-g", "-U", "-G"] {
        let case = Case::new();
        case.refuses(&format!("-s sock {option} no-such-name -- /bin/true"), "no-such-name");
        assert!(!case.exists("sock"), "{option}");
    }
}

#[test]
fn root_is_refused() {
    needs_root!();
    for option in ["-u", "-g", "-U", "-G"] {
        for root in ["root", "0"] {
            let case = Case::new();
            case.refuses(&format!("-s sock {option} {root} -- /bin/true"), "");
            assert!(!case.exists("sock"), "{option} {root}");
        }
    }
}

#[test]
fn a_user_with_roots_group_is_refused() {
    let case = among_users!();
    case.refuses("-s sock -u rob -- /bin/true", "");
    case.refuses("-s sock -U rob -- /bin/true", "");
    let child = case.child("-s sock -u rob -g amy");
    assert_eq!((child.uid(), child.gid(), child.groups()), (2009, 2001, vec![2001, 2003]));
}

#[test]
fn a_set_uid_copy_is_refused() {
    needs_root!();
    let case = Case::called_by_nobody();
    fs::set_permissions(&case.program, fs::Permissions::from_mode(0o4755)).expect("the copy is ours");
    case.refuses("-s sock -- /bin/true", "");
    assert!(!case.exists("sock"));
}

#[test]
fn a_set_gid_copy_is_refused() {
    needs_root!();
    let case = Case::called_by_nobody();
    fs::set_permissions(&case.program, fs::Permissions::from_mode(0o2755)).expect("the copy is ours");
    case.refuses("-s sock -- /bin/true", "");
    assert!(!case.exists("sock"));
}

#[test]
fn root_only_options_do_nothing_for_others() {
    let case = Case::called_by_nobody();
    let ended = case.run(&format!("-s sock -u daemon -g daemon -U daemon -G daemon -c /missing -S -M 0600 -- {SLEEP}"));
    assert!(ended.status == 0 && ended.children.len() == 1, "{ended:?}");
    let child = &ended.children[0];
    child.becomes(&["/bin/sleep", "1000"]);
    assert_eq!((child.uid(), child.gid(), case.owner("sock")), (NOBODY, NOBODY, (0o600, NOBODY, NOBODY)));
}

#[test]
fn chroot_is_where_the_program_is_and_the_socket() {
    needs_root!();
    let case = Case::new();
    jail(&case);
    let child = case.child("-s /sock -c jail");
    assert_eq!(proc::link(child.pid(), "root"), Some(case.path("jail")));
    assert_eq!(proc::link(child.pid(), "cwd"), Some(case.path("jail")));
    assert!(case.exists("jail/sock"));
}

#[test]
fn a_relative_socket_in_a_chroot_is_in_its_root() {
    needs_root!();
    let case = Case::new();
    jail(&case);
    let _child = case.child("-s sock -c jail");
    assert!(case.exists("jail/sock") && !case.exists("sock"));
}

#[test]
fn with_big_s_the_socket_is_outside() {
    needs_root!();
    let case = Case::new();
    jail(&case);
    let child = case.child("-s sock -c jail -S");
    assert!(case.exists("sock") && !case.exists("jail/sock"));
    assert_eq!(proc::link(child.pid(), "root"), Some(case.path("jail")));
}

#[test]
fn a_bundle_with_big_s() {
    needs_root!();
    let case = Case::new();
    jail(&case);
    let mut process = case.start("-c jail -nSs sock -- /bin/sleep 1000");
    super::Child::adopt(process.pid()).becomes(&["/bin/sleep", "1000"]);
    assert!(case.exists("sock"));
    process.stop();
}

#[test]
fn pid_file_and_users_are_outside_a_chroot() {
    needs_root!();
    let case = Case::new();
    jail(&case);
    let child = case.child("-s /sock -P pid -c jail -u nobody -M 0600");
    assert_eq!(fs::read_to_string(case.path("pid")).expect("a pid file"), child.pid().to_string());
    assert_eq!((child.uid(), case.owner("jail/sock")), (NOBODY, (0o600, NOBODY, NOBODY)));
}

#[test]
fn d_is_inside_a_chroot() {
    needs_root!();
    let case = Case::new();
    jail(&case);
    case.folder("jail/sub");
    let [child] = case.run("-s /sock -c jail -d sub -- ../bin/sleep 1000").started();
    child.becomes(&["../bin/sleep", "1000"]);
    assert_eq!(proc::link(child.pid(), "cwd"), Some(case.path("jail/sub")));
}

#[test]
fn chroot_and_a_port() {
    needs_root!();
    let case = Case::new();
    jail(&case);
    let child = case.child(&format!("-p {} -c jail -u nobody", free_port()));
    assert_eq!((proc::link(child.pid(), "root"), child.uid()), (Some(case.path("jail")), NOBODY));
}

#[test]
fn a_program_outside_a_chroot_is_missing() {
    needs_root!();
    let case = Case::new();
    jail(&case);
    assert_eq!(case.run_short("-s /sock -c jail -- /bin/true").status, 2);
}

#[test]
fn a_folder_that_is_no_chroot_is_named() {
    needs_root!();
    let case = Case::new();
    for (folder, why) in [("missing", "No such file or directory"), ("/etc/passwd", "Not a directory")] {
        let line = case.refuses(&format!("-s sock -c {folder} -- /bin/true"), folder);
        assert!(line.contains(why), "{line}");
    }
}
