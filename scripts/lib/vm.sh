# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A virtual machine with another kernel over this machine's root file system, for
# scripts/kernel-matrix. Sourced after common.sh.

# What the machine needs before it sees the modules of its kernel.
readonly VM_MODULES=(virtio_pci virtio_rng 9pnet_virtio 9p overlay)

# guest_script FOLDER FILTER BINARY...: what runs in the machine, as root.
guest_script() {
  local folder=$1 filter=$2 binary
  shift 2
  cat <<'TEXT'
set -u
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
mount -t bpf bpffs /sys/fs/bpf
ip link set lo up
ln -sfn /proc/self/fd /dev/fd
for module in nf_conntrack ip_vs ip_vs_rr; do modprobe "$module"; done
TEXT
  printf 'cd %q\n' "$folder"
  for binary; do
    printf './%q --gtest_filter=%q >/run/out/%q.log 2>&1\n' "$binary" "$filter" "$binary"
  done
  printf 'echo done >/run/out/ended\nsync\necho o >/proc/sysrq-trigger\nsleep 10\n'
}

# initial_root KERNEL_FOLDER FILE: what the kernel starts from. Makes this machine's
# root, read-only and under a tmpfs, the guest's.
initial_root() {
  local kernel=$1 file=$2 release work module path name
  release=$(basename -- "$kernel")
  work=$(mktemp -d)
  mkdir -p -- "$work"/{bin,modules,proc,sys,dev,host,upper,root}
  cp -- "$(command -v busybox)" "$work/bin/busybox"
  for module in "${VM_MODULES[@]}"; do
    # Nothing where it is built in, or there is no such thing.
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
# In this process: where the kernel looks for modprobe follows the first one's root.
exec chroot /root /bin/bash -c 'exec /bin/bash /run/out/guest </dev/null'
TEXT
  chmod +x -- "$work/init"
  (cd -- "$work" && find . | cpio --quiet -o -H newc) | gzip -1 >"$file"
  rm -rf -- "$work"
}

# boot_kernel KERNEL_FOLDER OUT: boots it and runs OUT/guest, which sees OUT as
# /run/out. Fails when that does not come to its end.
boot_kernel() {
  local kernel=$1 out=$2 acceleration=(-accel "tcg,thread=multi" -cpu max)
  [[ ! -w /dev/kvm ]] || acceleration=(-accel kvm -cpu host)
  if ! modprobe -S "$(basename -- "$kernel")" -d "$kernel" --show-depends 9p >"$out/console" 2>&1; then
    return 1
  fi
  initial_root "$kernel" "$out/initrd.gz"
  timeout "${NPG_VM_TIMEOUT:-5400}" qemu-system-x86_64 "${acceleration[@]}" -M q35 -smp 2 \
    -m "${NPG_VM_MEMORY:-3072}" -nodefaults -no-reboot -display none -device virtio-rng-pci \
    -serial "file:$out/console" -kernel "$kernel/vmlinuz" -initrd "$out/initrd.gz" \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
    -virtfs "local,path=$kernel/lib/modules,mount_tag=modules,security_model=none,readonly=on" \
    -virtfs "local,path=$out,mount_tag=out,security_model=none" \
    -append 'console=ttyS0 panic=-1 loglevel=4 mitigations=off random.trust_cpu=on audit=0 selinux=0 apparmor=0' \
    </dev/null >"$out/qemu" 2>&1 || true
  rm -f -- "$out/initrd.gz"
  [[ -e $out/ended ]]
}
