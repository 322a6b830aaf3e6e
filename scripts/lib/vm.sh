# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A virtual machine with another kernel and the root file system of this machine, for
# scripts/kernel-matrix. Sourced after common.sh.

# The modules that the guest needs before it can read those of its kernel.
readonly VM_MODULES=(virtio_pci virtio_rng 9pnet_virtio 9p overlay)

# guest_begins: prints the start of the script that runs in the guest as root.
guest_begins() {
  cat <<'TEXT'
set -u
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
mount -t bpf bpffs /sys/fs/bpf
ip link set lo up
echo "clock: $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
ln -sfn /proc/self/fd /dev/fd
for module in nf_conntrack ip_vs ip_vs_rr; do modprobe "$module"; done
TEXT
}

# guest_runs NAME PROGRAM FILTER: prints commands that run the program in its folder, with its output
# in NAME.log. The lines on the console make the host read that log.
guest_runs() {
  printf 'echo "begins: %s"\n' "$1"
  printf '(cd %q && ./%q --gtest_filter=%q) >/run/out/%q.log 2>&1\n' \
    "$(dirname -- "$2")" "$(basename -- "$2")" "$3" "$1"
  printf 'echo "ended: %s"\n' "$1"
}

guest_ends() {
  printf 'echo done >/run/out/ended\nsync\necho o >/proc/sysrq-trigger\nsleep 10\n'
}

# make_initial_root KERNEL_FOLDER FILE: makes the initial RAM file system. It mounts the root of this
# machine read-only, below a tmpfs, as the root of the guest.
make_initial_root() {
  local kernel=$1 file=$2 release work module path name
  release=$(basename -- "$kernel")
  work=$(mktemp -d)
  mkdir -p -- "$work"/{bin,modules,proc,sys,dev,host,upper,root}
  cp -- "$(command -v busybox)" "$work/bin/busybox"
  for module in "${VM_MODULES[@]}"; do
    # Prints nothing if the module is built in or does not exist.
    modprobe -S "$release" -d "$kernel" --show-depends "$module" 2>/dev/null |
      awk '$1 == "insmod" { print $2 }' || true
  done | awk '!seen[$0]++' | while read -r path; do
    name=$(basename -- "$path")
    case $path in
      *.xz) xz -dc -- "$path" >"$work/modules/${name%.xz}" ;;
      *.zst) zstd -dcq -- "$path" >"$work/modules/${name%.zst}" ;;
      *) cp -- "$path" "$work/modules/$name" ;;
    esac
    name=${name%.xz}
    printf '%s\n' "${name%.zst}" >>"$work/modules/order"
  done
  touch -- "$work/modules/order"
  cat >"$work/init" <<'TEXT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
# The host has seen the kernel start; from here on the console shows only errors.
dmesg -n 4
echo 'the kernel has started'
while read -r module; do insmod "/modules/$module"; done </modules/order
p9=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o "$p9,ro,cache=loose" host /host
mount -t tmpfs -o mode=755 tmpfs /upper
mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/host,upperdir=/upper/files,workdir=/upper/work overlay /root
for folder in proc sys dev; do mount --move "/$folder" "/root/$folder"; done
mount -t tmpfs -o mode=755 tmpfs /root/run
mkdir -p /root/run/out /root/run/lock /root/run/modules /root/dev/pts /root/dev/shm
mount -t 9p -o "$p9,rw,cache=none" out /root/run/out
mount -t 9p -o "$p9,ro,cache=loose" modules /root/run/modules
release=$(uname -r)
mkdir -p "/root/lib/modules/$release"
mount --bind "/root/run/modules/$release" "/root/lib/modules/$release"
export PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin HOME=/root LANG=C.UTF-8
# In this process, because the kernel looks for modprobe below the root of the first process.
exec chroot /root /bin/bash -c 'exec /bin/bash /run/out/guest </dev/null'
TEXT
  chmod +x -- "$work/init"
  (cd -- "$work" && find . | cpio --quiet -o -H newc) | gzip -1 >"$file"
  rm -rf -- "$work"
}

# A guest that waits for a processor misses ticks. With no_timer_check the kernel does not count
# them at boot, where it would panic if there are too few. With tsc=reliable it does not treat
# missed ticks as a fault of the time stamp counter and switch to a slower clock.
readonly VM_COMMAND_LINE='console=ttyS0 panic=-1 loglevel=6 mitigations=off random.trust_cpu=on audit=0 selinux=0 apparmor=0 no_timer_check tsc=reliable'

# start_vm KERNEL_FOLDER OUT OPTION...: sets vm to its process and vm_console to its console.
start_vm() {
  local kernel=$1 out=$2
  shift 2
  # shellcheck disable=SC2093 # the exec is in its own process
  exec {vm_console}< <(exec qemu-system-x86_64 "$@" -M q35 -smp 2 \
    -m "${NPG_VM_MEMORY:-3072}" -nodefaults -no-reboot -display none -device virtio-rng-pci \
    -serial stdio -kernel "$kernel/vmlinuz" -initrd "$initial_root" \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
    -virtfs "local,path=$kernel/lib/modules,mount_tag=modules,security_model=none,readonly=on" \
    -virtfs "local,path=$out,mount_tag=out,security_model=none" \
    -append "$VM_COMMAND_LINE" \
    </dev/null 2>"$out/qemu")
  vm=$!
}

end_vm() {
  kill -KILL "$vm" 2>/dev/null || true
  wait "$vm" 2>/dev/null || true
  exec {vm_console}<&-
}

# start_with_kvm KERNEL_FOLDER OUT: starts the guest if KVM works. On some hosts with a /dev/kvm,
# guests never print their first line.
start_with_kvm() {
  local device=${NPG_VM_KVM:-/dev/kvm} patience=${NPG_VM_PATIENCE:-20} first status=0 why
  if [[ ! -w $device ]]; then
    printf 'The guests run in emulation, which is ten times slower: KVM cannot be used, there is no %s to write to\n' "$device"
    return 1
  fi
  start_vm "$1" "$2" -accel kvm -cpu host
  IFS= read -r -t "$patience" -N 1 -u "$vm_console" first || status=$?
  if [[ $status -eq 0 ]]; then
    printf '%s' "$first" >>"$2/console"
    printf 'The guests run with KVM\n'
    return
  fi
  end_vm
  if [[ $status -gt 128 ]]; then
    why="a guest printed nothing in $patience s"
  else
    why="qemu ended (last line: $(tail -n 1 -- "$2/qemu"))"
  fi
  printf 'The guests run in emulation, which is ten times slower: %s is there, but with it %s\n' "$device" "$why"
  return 1
}

# The accelerator of the guests of this run, once known: kvm or tcg.
vm_acceleration=''

# Seconds that the threads of the guest have run and have waited for a processor.
vm_ran=0
vm_waited=0

note_vm_time() {
  local ran waited all_ran=0 all_waited=0 file
  for file in /proc/"$vm"/task/*/schedstat; do
    # The thread may have ended, and not every kernel has the file.
    { read -r ran waited _ <"$file"; } 2>/dev/null || continue
    all_ran=$((all_ran + ran))
    all_waited=$((all_waited + waited))
  done
  [[ $all_ran -gt 0 ]] || return 0
  vm_ran=$((all_ran / 1000000000))
  vm_waited=$((all_waited / 1000000000))
}

# vm_was_starved: whether it has waited longer than it has run. Its clock does not stop meanwhile.
vm_was_starved() { [[ $vm_waited -gt $vm_ran ]]; }

# watch_vm OUT LOOK: appends the console to OUT/console until the guest ends or its time is over.
# Calls LOOK at each line, and at least every ten seconds.
watch_vm() {
  local out=$1 look=$2 deadline=$((SECONDS + ${NPG_VM_TIMEOUT:-5400})) left line status
  while true; do
    left=$((deadline - SECONDS))
    if [[ $left -le 0 ]]; then
      printf 'kernel-matrix: the guest is ended after its time limit of %s s (NPG_VM_TIMEOUT)\n' "${NPG_VM_TIMEOUT:-5400}" >&2
      break
    fi
    status=0
    IFS= read -r -t "$((left < 10 ? left : 10))" -u "$vm_console" line || status=$?
    # After a timeout it is the start of a line.
    printf '%s' "$line" >>"$out/console"
    [[ $status -ne 0 ]] || printf '\n' >>"$out/console"
    note_vm_time
    "$look"
    [[ $status -eq 0 || $status -gt 128 ]] || break
  done
  end_vm
}

# boot_kernel KERNEL_FOLDER OUT LOOK: boots the kernel and runs OUT/guest, where OUT is /run/out.
# Fails if that script does not reach its end. For LOOK, a command, see watch_vm.
boot_kernel() {
  local kernel=$1 out=$2 look=$3
  if ! modprobe -S "$(basename -- "$kernel")" -d "$kernel" --show-depends 9p >"$out/console" 2>&1; then
    return 1
  fi
  : >"$out/console"
  initial_root=$(mktemp)
  make_initial_root "$kernel" "$initial_root"
  vm_ran=0
  vm_waited=0
  if [[ $vm_acceleration == '' ]] && start_with_kvm "$kernel" "$out"; then
    vm_acceleration=kvm
  elif [[ $vm_acceleration == kvm ]]; then
    start_vm "$kernel" "$out" -accel kvm -cpu host
  else
    vm_acceleration=tcg
    start_vm "$kernel" "$out" -accel "tcg,thread=multi" -cpu max
  fi
  watch_vm "$out" "$look"
  rm -f -- "$initial_root"
  [[ -e $out/ended ]]
}
