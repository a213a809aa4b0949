//! Where the running kernel keeps the members that the programs read. User space resolves the paths in the
//! kernel's BTF and writes the offsets into the read-only global `OFFSETS` before loading; the verifier then
//! knows them as constants.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A member that this kernel does not have: the branch that reads it is dead code to the verifier.
pub const ABSENT: u32 = u32::MAX;

/// One offset: its field, the structure and the member's path in it. Several paths are tried in turn.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub field: &'static str,
    pub places: &'static [(&'static str, &'static str)],
}

macro_rules! offsets {
    ($($field:ident: $($structure:literal . $member:literal)|+),+ $(,)?) => {
        /// Byte offsets, in the order of [`WANTED`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct Offsets {
            $(pub $field: u32,)+
        }

        impl Offsets {
            pub const ABSENT: Self = Self { $($field: ABSENT,)+ };
        }

        /// What to look up for each field of [`Offsets`].
        pub const WANTED: &[Wanted] = &[
            $(Wanted { field: stringify!($field), places: &[$(($structure, $member)),+] },)+
        ];

        const _: () = assert!(size_of::<Offsets>() == WANTED.len() * 4);
    };
}

offsets! {
    task_flags: "task_struct"."flags",
    task_io_worker: "task_struct"."worker_private" | "task_struct"."pf_io_worker",
    task_tgid: "task_struct"."tgid",
    task_pid: "task_struct"."pid",
    task_start: "task_struct"."start_boottime" | "task_struct"."real_start_time",
    task_leader: "task_struct"."group_leader",
    task_parent: "task_struct"."real_parent",
    task_mm: "task_struct"."mm",
    task_fs: "task_struct"."fs",
    task_files: "task_struct"."files",
    task_cgroups: "task_struct"."cgroups",
    task_signal: "task_struct"."signal",
    task_exit_code: "task_struct"."exit_code",
    task_status: "task_struct"."thread_info.status",
    task_ran: "task_struct"."se.sum_exec_runtime",
    task_waited: "task_struct"."sched_info.run_delay",
    signal_ended_ran: "signal_struct"."sum_sched_runtime",
    signal_live: "signal_struct"."live",
    signal_flags: "signal_struct"."flags",
    signal_threads: "signal_struct"."nr_threads",
    signal_group_exit_code: "signal_struct"."group_exit_code",
    signal_oom_mm: "signal_struct"."oom_mm",
    mm_exe_file: "mm_struct"."exe_file",
    mm_arg_start: "mm_struct"."arg_start",
    mm_arg_end: "mm_struct"."arg_end",
    file_path: "file"."f_path",
    file_private: "file"."private_data",
    file_inode: "file"."f_inode",
    file_mode: "file"."f_mode",
    inode_mode: "inode"."i_mode",
    inode_number: "inode"."i_ino",
    inode_sb: "inode"."i_sb",
    sb_dev: "super_block"."s_dev",
    path_mnt: "path"."mnt",
    path_dentry: "path"."dentry",
    dentry_parent: "dentry"."d_parent",
    dentry_name: "dentry"."d_name",
    dentry_hash_pprev: "dentry"."d_hash.pprev",
    qstr_name: "qstr"."name",
    qstr_len: "qstr"."len",
    vfsmount_root: "vfsmount"."mnt_root",
    mount_vfsmount: "mount"."mnt",
    mount_parent: "mount"."mnt_parent",
    mount_mountpoint: "mount"."mnt_mountpoint",
    fs_root: "fs_struct"."root",
    fs_pwd: "fs_struct"."pwd",
    files_fdt: "files_struct"."fdt",
    fdtable_fd: "fdtable"."fd",
    fdtable_max: "fdtable"."max_fds",
    css_set_subsys: "css_set"."subsys",
    css_set_default: "css_set"."dfl_cgrp",
    css_cgroup: "cgroup_subsys_state"."cgroup",
    cgroup_kn: "cgroup"."kn",
    kernfs_id: "kernfs_node"."id",
    socket_sk: "socket"."sk",
    socket_inode: "socket_alloc"."vfs_inode.i_ino",
    sock_socket: "sock"."sk_socket",
    sock_family: "sock"."__sk_common.skc_family",
    sock_state: "sock"."__sk_common.skc_state",
    sock_num: "sock"."__sk_common.skc_num",
    sock_dport: "sock"."__sk_common.skc_dport",
    sock_daddr: "sock"."__sk_common.skc_daddr",
    sock_rcv_saddr: "sock"."__sk_common.skc_rcv_saddr",
    sock_v6_daddr: "sock"."__sk_common.skc_v6_daddr",
    sock_v6_rcv_saddr: "sock"."__sk_common.skc_v6_rcv_saddr",
    sock_net: "sock"."__sk_common.skc_net",
    sock_cookie: "sock"."__sk_common.skc_cookie",
    sock_flags: "sock"."__sk_common.skc_flags",
    sock_err: "sock"."sk_err",
    sock_protocol: "sock"."sk_protocol",
    sock_type: "sock"."sk_type",
    sock_shutdown: "sock"."sk_shutdown",
    inet_sport: "inet_sock"."inet_sport",
    net_inum: "net"."ns.inum",
    tcp_bytes_acked: "tcp_sock"."bytes_acked",
    tcp_bytes_received: "tcp_sock"."bytes_received",
    tcp_srtt: "tcp_sock"."srtt_us",
    tcp_retransmits: "tcp_sock"."total_retrans",
    tcp_snd_una: "tcp_sock"."snd_una",
    tcp_write_seq: "tcp_sock"."write_seq",
    filename_name: "filename"."name",
    cqe_res: "io_uring_cqe"."res",
    req_opcode: "io_kiocb"."opcode",
    req_file: "io_kiocb"."file",
    req_work: "io_kiocb"."work",
    req_flags: "io_kiocb"."flags",
    req_result: "io_kiocb"."cqe.res",
    req_context: "io_kiocb"."ctx",
    req_user_data: "io_kiocb"."user_data",
    worker_work: "io_worker"."cur_work",
    uring_open_dir: "io_open"."dfd",
    uring_open_name: "io_open"."filename",
    uring_open_slot: "io_open"."file_slot",
    uring_open_flags: "io_open"."how.flags",
    uring_open_mode: "io_open"."how.mode",
    uring_mkdir_dir: "io_mkdir"."dfd",
    uring_mkdir_name: "io_mkdir"."filename",
    uring_mkdir_mode: "io_mkdir"."mode",
    uring_unlink_dir: "io_unlink"."dfd",
    uring_unlink_name: "io_unlink"."filename",
    uring_unlink_flags: "io_unlink"."flags",
    uring_rename_old_dir: "io_rename"."old_dfd",
    uring_rename_new_dir: "io_rename"."new_dfd",
    uring_rename_old: "io_rename"."oldpath",
    uring_rename_new: "io_rename"."newpath",
    uring_rename_flags: "io_rename"."flags",
    uring_link_old_dir: "io_link"."old_dfd",
    uring_link_new_dir: "io_link"."new_dfd",
    uring_link_old: "io_link"."oldpath",
    uring_link_new: "io_link"."newpath",
    uring_link_flags: "io_link"."flags",
    uring_truncate_len: "io_ftrunc"."len",
    regs_orig_ax: "pt_regs"."orig_ax",
    regs_bx: "pt_regs"."bx",
    regs_cx: "pt_regs"."cx",
    regs_dx: "pt_regs"."dx",
    regs_si: "pt_regs"."si",
    regs_di: "pt_regs"."di",
    regs_bp: "pt_regs"."bp",
    regs_r8: "pt_regs"."r8",
    regs_r9: "pt_regs"."r9",
    regs_r10: "pt_regs"."r10",
    skb_sk: "sk_buff"."sk",
    skb_dev: "sk_buff"."dev",
    skb_iif: "sk_buff"."skb_iif",
    skb_dst: "sk_buff"."_skb_refdst",
    skb_head: "sk_buff"."head",
    skb_end: "sk_buff"."end",
    shared_gso_size: "skb_shared_info"."gso_size",
    shared_gso_segs: "skb_shared_info"."gso_segs",
    skb_data: "sk_buff"."data",
    skb_network: "sk_buff"."network_header",
    skb_mac: "sk_buff"."mac_header",
    skb_transport: "sk_buff"."transport_header",
    skb_protocol: "sk_buff"."protocol",
    skb_len: "sk_buff"."len",
    skb_users: "sk_buff"."users",
    dst_dev: "dst_entry"."dev",
    dev_ifindex: "net_device"."ifindex",
    dev_name: "net_device"."name",
    dev_net: "net_device"."nd_net",
    dev_type: "net_device"."type",
}

/// io_uring_complete tells the request and, as the fourth argument, the result (5.19).
pub const URING_RESULT: u32 = 0;
/// It tells the request and the completion (6.13).
pub const URING_COMPLETION: u32 = 1;
/// It tells what the request was submitted with, and the result: which one it was must be looked up.
pub const URING_USER_DATA: u32 = 2;

/// Facts of the machine that prune code before it is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Machine {
    /// Index in `css_set.subsys` of the hierarchy that identifies tasks; [`ABSENT`]: the unified one.
    pub cgroup_subsys: u32,
    /// Rings in use minus one: a mask for the CPU number.
    pub ring_mask: u32,
    /// Bytes that wait in a ring when its reader is woken.
    pub ring_bell: u32,
    /// Not 0: `bpf_get_socket_cookie` may be called by tracing programs (5.12).
    pub socket_cookie: u32,
    /// Not 0: `bpf_probe_read_kernel` is allowed (not under lockdown=confidentiality).
    pub read_kernel: u32,
    /// Index of the `group_dead` argument of sched_process_exit; [`ABSENT`] before 6.16.
    pub exit_group_dead: u32,
    /// Value of the bit `SOCK_DONE` in `sk_flags`.
    pub sock_done: u32,
    /// Stamps of calls under way minus one: a mask for thread ids.
    pub stamp_mask: u32,
    /// Index of the `reason` argument of kfree_skb; [`ABSENT`] before 5.17.
    pub drop_reason: u32,
    /// Index of its `rx_sk` argument; [`ABSENT`] before 6.11.
    pub drop_rx_sk: u32,
    /// Index of the `skb` argument of udp_fail_queue_rcv_skb, which then comes before kfree_skb; [`ABSENT`] before 6.10.
    pub udp_fail_skb: u32,
    /// Values of `enum skb_drop_reason` that are no drop; [`ABSENT`] where there is none.
    pub drop_not_yet: u32,
    pub drop_consumed: u32,
    /// The value that says nothing; [`ABSENT`]: all do not.
    pub drop_unspecified: u32,
    /// Bits from the beginning of `sk_buff` to `csum_complete_sw` and `csum_valid`; [`ABSENT`]: there are none.
    pub skb_csum_done: u32,
    pub skb_csum_valid: u32,
    /// Address of `_stext`, lower and upper half; 0: not known.
    pub text_low: u32,
    pub text_high: u32,
    /// Index of the `err` argument of tcp_retransmit_skb; [`ABSENT`] where only what was sent is told.
    pub retransmit_error: u32,
    /// What io_uring_complete tells: one of `URING_*`; [`ABSENT`]: nothing of use.
    pub uring_complete: u32,
    /// Index of the argument of io_uring_submit_req, or _sqe, that is the request; [`ABSENT`]: it is not told.
    pub uring_request: u32,
    /// Where `pkt_type` of `sk_buff` is, in bits from its beginning; [`ABSENT`]: it has none.
    pub skb_pkt_type: u32,
    /// Inode of the network namespace that fluoro is in.
    pub netns: u32,
    /// Not 0: packets of other network namespaces are wanted, too.
    pub all_netns: u32,
    /// Of `mm_struct`: where its first counter of pages is and how far the next one is from it; [`ABSENT`]: not known.
    pub rss_first: u32,
    pub rss_stride: u32,
}

const _: () = assert!(size_of::<Machine>() == 104);
