#!/bin/bash
# up.sh DIR [slurm]: two hosts, n1 and n2, which are this machine in network and host name, and on request a Slurm
# with two GPUs at each. All of it lives in the namespaces that `unshare --pid --net --uts --mount` has made for this
# script, and ends with it, which is when its standard input ends: also when whoever started it is killed.
set -euo pipefail
dir=$1

# In vain is after a minute: whoever waits for this script waits for its first line.
wait_until() {
    for _ in {1..1200}; do
        ! "$@" || return 0
        sleep 0.05
    done
    echo "waited in vain: $*" >&2
    exit 1
}

is_up() { [ "$("$dir/on" "$1" hostname)" = "$1" ]; }
are_idle() { [ "$(sinfo --noheader --states=idle --partition=low --format=%D)" = 2 ]; }

hosts() {
    local host
    printf '127.0.0.1 localhost\n10.77.0.254 head\n10.77.0.1 n1\n10.77.0.2 n2\n' > "$dir/hosts"
    mount --bind "$dir/hosts" /etc/hosts
    hostname head
    ip link set lo up
    ip link add bridge type bridge
    ip addr add 10.77.0.254/24 dev bridge
    ip link set bridge up
    for i in 1 2; do
        host=n$i
        unshare --net --uts sh -c "hostname $host && exec sleep infinity" &
        echo $! > "$dir/$host.pid"
        wait_until is_up "$host"
        ip link add "to-$host" type veth peer name eth0 netns "$(< "$dir/$host.pid")"
        ip link set "to-$host" master bridge up
        "$dir/on" "$host" ip link set lo up
        "$dir/on" "$host" ip link set eth0 up
        "$dir/on" "$host" ip addr add "10.77.0.$i/24" dev eth0
    done
}

# on HOST COMMAND...: as ssh, which is what mpirun takes it for.
write_on() {
    cat > "$dir/on" <<SH
#!/bin/bash
pid=\$(< "$dir/\$1.pid")
shift
exec nsenter --target "\$pid" --net --uts sh -c "\$*"
SH
    chmod +x "$dir/on"
}

munge() {
    mkdir -m 700 "$dir/munge"
    head -c 1024 /dev/urandom > "$dir/munge/key"
    chmod 400 "$dir/munge/key"
    munged --force --socket="$dir/munge.sock" --key-file="$dir/munge/key" --pid-file="$dir/munge/pid" \
        --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
}

# Jobs of `high` preempt those of `low`, which have 20 seconds to end and are queued again.
slurm_conf() {
    cat <<CONF
ClusterName=test
SlurmctldHost=head(10.77.0.254)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge.sock
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
TmpFS=$dir/tmp/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=100000,batch_sched_delay=0
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
GresTypes=gpu
NodeName=n1 NodeAddr=10.77.0.1 CPUs=4 RealMemory=2000 Gres=gpu:2
NodeName=n2 NodeAddr=10.77.0.2 CPUs=4 RealMemory=2000 Gres=gpu:2
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=20
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF
CONF
}

slurm() {
    export SLURM_CONF=$dir/slurm.conf
    mkdir -p "$dir"/{state,spool/n1,spool/n2,tmp/n1,tmp/n2}
    slurm_conf > "$SLURM_CONF"
    ln -s /dev/null "$dir/gpu0"
    ln -s /dev/null "$dir/gpu1"
    echo "NodeName=n[1-2] Name=gpu File=$dir/gpu[0-1]" > "$dir/gres.conf"
    # Newer ones want cgroups at their start, whether used or not; of version 1 they do not look for them.
    echo CgroupPlugin=cgroup/v1 > "$dir/cgroup.conf"
    munge
    slurmctld
    for host in n1 n2; do "$dir/on" "$host" slurmd -N "$host"; done
    wait_until are_idle
}

write_on
hosts
[ "${2-}" != slurm ] || slurm
echo ready
cat
