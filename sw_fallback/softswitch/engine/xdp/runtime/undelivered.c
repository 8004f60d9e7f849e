/*
 * Frames that were redirected to a port and never left. The program that sent them there is told that all is well:
 * the kernel finds out later, says so at two tracepoints and nowhere else.
 */

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

enum { PORTS = 512, INTERFACES = 1 << 20 };

/* Errors, as positive numbers, by what to do about them. */
enum reason { NO_RECEIVER, IS_DOWN, TOO_LONG, QUEUE_FULL, OTHER, REASONS };

enum { LINUX_ENXIO = 6, LINUX_EMSGSIZE = 90, LINUX_EOPNOTSUPP = 95, LINUX_ENETDOWN = 100 };

struct undelivered {
	__u64 frames[REASONS];
};

struct interfaces {
	__u16 port[INTERFACES];
};

/* By port. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PORTS);
	__type(key, __u32);
	__type(value, struct undelivered);
} undelivered SEC(".maps");

/* The engine's own map: the port of each interface by its index, plus one; zero where it is not the switch's. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct interfaces);
} port_of SEC(".maps");

const volatile __u32 ports_map;         /* the kernel's number of the map that packets are redirected through */
const volatile __u32 network_namespace; /* in which interfaces have the indexes of port_of */

/* The little of the kernel's types that is read; where it lies is looked up when the program is loaded. */
#define RELOCATED __attribute__((preserve_access_index))

struct ns_common {
	unsigned int inum;
} RELOCATED;

struct net {
	struct ns_common ns;
} RELOCATED;

typedef struct {
	struct net *net;
} RELOCATED possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
} RELOCATED;

static __always_inline enum reason reason_of(int error)
{
	switch (-error) {
	case LINUX_ENXIO:
	case LINUX_EOPNOTSUPP:
		return NO_RECEIVER;
	case LINUX_ENETDOWN:
		return IS_DOWN;
	case LINUX_EMSGSIZE:
		return TOO_LONG;
	case 0:
		return QUEUE_FULL;
	default:
		return OTHER;
	}
}

static __always_inline void count(__u32 port, int frames, int error)
{
	struct undelivered *found = bpf_map_lookup_elem(&undelivered, &port);

	if (found)
		__sync_fetch_and_add(&found->frames[reason_of(error)], frames);
}

/* A driver was given frames and did not take them all. */
SEC("tp_btf/xdp_devmap_xmit")
int BPF_PROG(refused_by_driver, const void *from, const struct net_device *to, int sent, int drops, int error)
{
	const __u32 zero = 0;
	const struct interfaces *known;
	__u32 index;

	if (drops <= 0)
		return 0;
	index = to->ifindex;
	known = bpf_map_lookup_elem(&port_of, &zero);
	if (!known || index >= INTERFACES || !known->port[index] || to->nd_net.net->ns.inum != network_namespace)
		return 0;
	count(known->port[index] - 1, drops, error);
	return 0;
}

/* A frame did not even reach the driver. */
SEC("tp_btf/xdp_redirect_err")
int BPF_PROG(refused_by_kernel, const void *from, const void *program, const void *target, int error,
	     int map_type, __u32 map_id, __u32 index)
{
	if (map_type == BPF_MAP_TYPE_DEVMAP && map_id == ports_map)
		count(index, 1, error);
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
