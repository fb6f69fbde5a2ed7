/*
 * Commands that QEMU 11.1 has and this version has not, so that whoever types one is not told of a typing mistake. Rule
 * source: `query-commands` and `help` of qemu-system-x86_64 11.1.
 */

/** Of QMP. */
const absentQmp: readonly string[] = (
  'add-fd add_client announce-self balloon block-commit ' +
  'block-job-change block-latency-histogram-set ' +
  'block-set-write-threshold block-stream block_set_io_throttle blockdev-change-medium blockdev-close-tray blockdev-create ' +
  'blockdev-insert-medium blockdev-mirror blockdev-open-tray blockdev-remove-medium blockdev-reopen blockdev-set-active blockdev-snapshot ' +
  'blockdev-snapshot-delete-internal-sync blockdev-snapshot-internal-sync blockdev-snapshot-sync calc-dirty-rate cancel-vcpu-dirty-limit ' +
  'change-backing-file change-vnc-password chardev-add chardev-change chardev-remove chardev-send-break client_migrate_info closefd ' +
  'cxl-add-dynamic-capacity cxl-inject-correctable-error cxl-inject-dram-event cxl-inject-general-media-event cxl-inject-memory-module-event ' +
  'cxl-inject-poison cxl-inject-uncorrectable-errors cxl-release-dynamic-capacity device-list-properties device-sync-config device_add ' +
  'device_del display-reload display-update drive-backup drive-mirror dump-guest-memory dump-skeys dumpdtb expire_password getfd ' +
  'inject-ghes-v2-error inject-nmi input-send-event memsave migrate migrate-continue migrate-incoming migrate-pause migrate-recover ' +
  'migrate-set-capabilities migrate-set-parameters migrate-start-postcopy migrate_cancel netdev_add netdev_del pmemsave qom-list qom-list-get ' +
  'qom-list-properties qom-list-types query-accelerators query-acpi-ospm-status query-audiodevs query-balloon query-chardev ' +
  'query-chardev-backends query-colo-status query-command-line-options query-cpu-definitions query-cpu-model-baseline query-cpu-model-comparison ' +
  'query-cpu-model-expansion query-cpus-fast query-cryptodev query-current-machine query-dirty-rate query-display-options query-dump ' +
  'query-dump-guest-memory-capability query-fdsets query-firmware-log query-gic-capabilities query-hotpluggable-cpus ' +
  'query-hv-balloon-status-report query-iothreads query-kvm query-machines query-memdev query-memory-devices query-memory-size-summary ' +
  'query-mice query-migrate query-migrate-capabilities query-migrate-parameters query-name query-pci query-pr-managers query-replay query-rocker ' +
  'query-rocker-of-dpa-flows query-rocker-of-dpa-groups query-rocker-ports query-rx-filter query-s390x-cpu-polarization query-sev ' +
  'query-sev-attestation-report query-sev-capabilities query-sev-launch-measure query-sgx query-sgx-capabilities query-spice query-stats ' +
  'query-stats-schemas query-target query-tpm query-tpm-models query-tpm-types query-uuid query-vcpu-dirty-limit query-vm-generation-id ' +
  'query-vnc query-vnc-servers query-xen-replication-status query-yank remove-fd replay-break replay-delete-break replay-seek request-ebpf ' +
  'ringbuf-read ringbuf-write rtc-reset-reinjection screendump send-key set-action set-cpu-topology set-numa-node set-vcpu-dirty-limit set_link ' +
  'set_password sev-inject-launch-secret snapshot-delete snapshot-load snapshot-save system_powerdown system_reset system_wakeup ' +
  'trace-event-get-state trace-event-set-state watchdog-set-action x-accel-stats x-blockdev-amend x-blockdev-change x-blockdev-set-iothread ' +
  'x-colo-lost-heartbeat x-debug-x-exit-preconfig x-query-interrupt-controllers x-query-irq x-query-jit x-query-numa ' +
  'x-query-ramblock x-query-roms x-query-usb x-query-virtio x-query-virtio-queue-element x-query-virtio-queue-status x-query-virtio-status ' +
  'x-query-virtio-vhost-queue-status xen-colo-do-checkpoint xen-event-inject xen-event-list xen-load-devices-state xen-save-devices-state ' +
  'xen-set-global-dirty-log xen-set-replication yank'
).split(' ');

/** Of the human monitor. */
const absentHuman: readonly string[] = (
  'announce_self balloon block_set_io_throttle block_stream boot_set calc_dirty_rate cancel_vcpu_dirty_limit change chardev-add chardev-change ' +
  'chardev-remove chardev-send-break clear client_migrate_info closefd commit cpu delvm device_add device_del drive_backup drive_mirror ' +
  'dump-guest-memory dumpdtb exit_preconfig expire_password gdbserver getfd gpa2hpa gpa2hva gva2gpa hostfwd_add hostfwd_remove i loadvm log ' +
  'logfile mce memsave migrate migrate_cancel migrate_continue migrate_incoming migrate_pause migrate_recover migrate_set_capability ' +
  'migrate_set_parameter migrate_start_postcopy mouse_button mouse_move mouse_set netdev_add netdev_del nmi o object_add object_del off] ' +
  'off][,copy-on-read=on one-insn-per-tb p pcie_aer_inject_error pmemsave print qom-list replay_break replay_delete_break replay_seek ' +
  'ringbuf_read ringbuf_write savevm screendump sendkey set_link set_password set_vcpu_dirty_limit snapshot_blkdev snapshot_blkdev_internal ' +
  'snapshot_delete_blkdev_internal stopcapture sum sync-profile system_powerdown system_reset system_wakeup trace-event watchdog_action ' +
  'wavcapture x x_colo_lost_heartbeat xen-event-inject xen-event-list xp'
).split(' ');

/** Items of `info` of the human monitor. */
const absentInfo: readonly string[] = (
  'accel accelerators balloon capture chardev cpus cryptodev dirty_rate dump firmware-log history hotpluggable-cpus iothreads irq jit kvm lapic ' +
  'mem memdev memory-devices memory_size_summary mice migrate migrate_capabilities migrate_parameters mtree network numa pci pic qdm qom-tree ' +
  'qtree ramblock registers replay rocker rocker-of-dpa-flows rocker-of-dpa-groups rocker-ports roms sev sgx spice stats sync-profile tlb tpm ' +
  'trace-events usb usbhost usernet uuid vcpu_dirty_limit via virtio virtio-queue-element virtio-queue-status virtio-status ' +
  'virtio-vhost-queue-status vm-generation-id vnc'
).split(' ');

/** Whether QEMU has a command of this name, in one of its monitors, that this version lacks. */
export function isAbsentCommand(name: string): boolean {
  return absentQmp.includes(name) || absentHuman.includes(name);
}

/** Whether QEMU's human monitor has `info ITEM` and this version has not. */
export function isAbsentInfo(item: string): boolean {
  return absentInfo.includes(item);
}
