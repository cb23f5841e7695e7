#!/usr/bin/env bash
# A Slurm cluster of two nodes, n1 and n2, on this machine's loopback, for tests: no systemd, no cgroups, no database, nothing outside
# its folder but the Debian packages. As root (who installs the packages where they are missing) or as anybody.
#
#   ci/slurm-lab.sh start DIR [PORT]   DIR must not exist; PORT and the two after it must be free on 127.0.0.1
#   export SLURM_CONF=DIR/slurm.conf   for sbatch, squeue and the like
#   ci/slurm-lab.sh stop DIR           ends every process and removes DIR
#   ci/slurm-lab.sh kill DIR NODE      a node dies, with the jobs on it
#   ci/slurm-lab.sh orphan DIR NODE    its daemon dies, the jobs on it go on
#   ci/slurm-lab.sh revive DIR NODE    it comes back
#   ci/slurm-lab.sh freeze|thaw DIR    the controller does not answer; does again
#
# Exit code 77: Slurm is not installed and cannot be.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
packages=(slurmctld slurmd slurm-client munge)

say() { echo "slurm-lab: $*" >&2; }

# Waits up to $1 tenths of a second for a command to succeed.
await() {
  local tenths=$1
  shift
  for ((; tenths > 0; tenths--)); do
    "$@" && return 0
    sleep 0.1
  done
  return 1
}

install_slurm() {
  command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "Slurm is not installed: apt-get install ${packages[*]}"
    exit 77
  fi
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"; } >/dev/null 2>&1 || {
    say "Slurm cannot be installed: apt-get install ${packages[*]} has failed"
    exit 77
  }
}

configure() {
  local port=$1 user host gpus
  user=$(id -un)
  host=$(hostname -s)
  # Files of GPUs must be devices whose names end in their number; nobody opens them here.
  gpus="/dev/tty[0-1]"
  if [ "$(id -u)" = 0 ] && mknod "$lab/gpu0" c 1 3 2>/dev/null && mknod "$lab/gpu1" c 1 3; then gpus="$lab/gpu[0-1]"; fi
  echo "NodeName=n1,n2 Name=gpu File=$gpus Flags=nvidia_gpu_env" >"$lab/gres.conf"
  cat >"$SLURM_CONF" <<CONF
ClusterName=lab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
# The credential's life is also how long a task waits that is begun anew.
AuthInfo=socket=$lab/run/munge.sock,cred_expire=5
StateSaveLocation=$lab/state
SlurmdSpoolDir=$lab/spool/%n
SlurmctldPidFile=$lab/run/slurmctld.pid
SlurmdPidFile=$lab/run/slurmd.%n.pid
SlurmctldLogFile=$lab/log/slurmctld.log
SlurmdLogFile=$lab/log/slurmd.%n.log
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
GresTypes=gpu
# Everything sooner than on a real cluster: a node is down after ten seconds, a controller that does not answer has failed after three.
SlurmdTimeout=5
MessageTimeout=3
TCPTimeout=1
KillWait=10
CompleteWait=0
ReturnToService=2
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,sched_interval=2,bf_interval=2
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=2 RealMemory=2000 Gres=gpu:2
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=2 RealMemory=2000 Gres=gpu:2
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF
}

idle() { [ "$(sinfo -h -N -n "$1" -t idle -o %N 2>/dev/null | wc -l)" = "$2" ]; }

start() {
  install_slurm
  [ ! -e "$lab" ] || { say "$lab is there already: stop it first"; exit 1; }
  umask 022
  mkdir -p "$lab"/{run,state,log,munge,spool/n1,spool/n2}
  chmod 700 "$lab/munge"
  (umask 077 && head -c 128 /dev/urandom >"$lab/munge/key")
  configure "$1"
  munged --key-file="$lab/munge/key" --socket="$lab/run/munge.sock" --pid-file="$lab/run/munged.pid" \
    --log-file="$lab/log/munged.log" --seed-file="$lab/munge/seed"
  slurmctld
  slurmd -N n1
  slurmd -N n2
  await 200 idle n1,n2 2 || { say "the nodes do not come up"; tail -n 5 "$lab"/log/*.log >&2; exit 1; }
}

pid_of() { cat "$lab/run/$1.pid" 2>/dev/null; }

# Processes of jobs of this lab, of one node where it is named.
job_processes() {
  local environment
  for environment in /proc/[0-9]*/environ; do
    grep -qsz "^SLURM_CONF=$SLURM_CONF\$" "$environment" || continue
    grep -qsz '^SLURM_JOB_ID=' "$environment" || continue
    [ $# = 0 ] || grep -qsz "^SLURMD_NODENAME=$1\$" "$environment" || continue
    basename "$(dirname "$environment")"
  done
}

# The step daemons above some processes.
step_daemons() {
  local pid parent
  for pid in "$@"; do
    parent=$(awk '/^PPid/ { print $2 }' "/proc/$pid/status" 2>/dev/null) || continue
    [ "$(cat "/proc/$parent/comm" 2>/dev/null)" = slurmstepd ] && echo "$parent"
  done
  return 0
}

kill_jobs() {
  local jobs steps
  mapfile -t jobs < <(job_processes "$@")
  mapfile -t steps < <(step_daemons "${jobs[@]}")
  # The daemons first: nobody is to tell the controller.
  [ ${#steps[@]} = 0 ] || kill -KILL "${steps[@]}" 2>/dev/null || true
  [ ${#jobs[@]} = 0 ] || kill -KILL "${jobs[@]}" 2>/dev/null || true
}

ended() { ! kill -0 "$1" 2>/dev/null; }

stop() {
  local name pid pids=()
  for name in slurmd.n1 slurmd.n2 slurmctld munged; do
    pid=$(pid_of "$name") || continue
    grep -qE '^(slurmctld|slurmd|munged)' "/proc/$pid/comm" 2>/dev/null || continue
    # One that is frozen hears nothing.
    kill -TERM "$pid" && kill -CONT "$pid" && pids+=("$pid")
  done
  for pid in "${pids[@]}"; do
    await 50 ended "$pid" || kill -KILL "$pid"
  done
  kill_jobs
  rm -rf "$lab"
}

[ $# -ge 2 ] || { sed -n '2,/^set/{/^#/p}' "$0" >&2; exit 2; }
lab=$2
[[ $lab = /* ]] || lab=$PWD/$lab
export SLURM_CONF=$lab/slurm.conf
case $1 in
  start) start "${3:-16817}" ;;
  stop) stop ;;
  kill) kill -KILL "$(pid_of "slurmd.$3")" && kill_jobs "$3" ;;
  orphan) kill -KILL "$(pid_of "slurmd.$3")" ;;
  revive) slurmd -N "$3" && await 200 idle "$3" 1 ;;
  freeze) kill -STOP "$(pid_of slurmctld)" ;;
  thaw) kill -CONT "$(pid_of slurmctld)" ;;
  *) say "there is no $1"; exit 2 ;;
esac
