#!/bin/sh
# Runs in Open vSwitch's source folder before it is built, where Antrea applies patches from upstream. Here it takes out
# what a container network does not use: the second build with DPDK, and all packages but three.
set -eu
echo "changing the packaging of $(dpkg-parsechangelog --show-field Version)"
sed -i -e 's/^ifneq (,$(filter i386 amd64 ppc64el arm64 riscv64, .*/ifneq (,)/' -e '/ -- dist distdir=/d' debian/rules
printf '\noverride_dh_missing:\n' >> debian/rules
awk 'BEGIN { RS = ""; ORS = "\n\n" }
     /^Source:/ || /^Package: (openvswitch-common|openvswitch-switch|python3-openvswitch)\n/' \
    debian/control > debian/control.new
mv debian/control.new debian/control
