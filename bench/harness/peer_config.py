"""Configurations for HAProxy and nginx: one hop, or two sections that are joined by a unix socket."""

HAPROXY_SPLICE = {
    "haproxy-splice": "  option splice-auto\n",
    "haproxy-fsplice": "  option splice-request\n  option splice-response\n",
}


def haproxy(kind, chain, port, backend, workers, unique):
    """KIND is `haproxy` or one of HAPROXY_SPLICE; CHAIN puts a second section behind an abstract unix socket."""
    splice = HAPROXY_SPLICE.get(kind, "")
    text = f"""global
  nbthread {workers}
  maxconn {6000 if splice else 9500}
{"  maxpipes 2000" if splice else ""}
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
{splice}frontend outer
  bind 127.0.0.1:{port}
  default_backend {"hop" if chain else "real"}
backend real
  server s 127.0.0.1:{backend}
"""
    if chain:
        text += f"""backend hop
  server h abns@bench{unique}
frontend inner
  bind abns@bench{unique}
  default_backend real
"""
    return text


def nginx(chain, port, backend, workers, folder, module):
    """FOLDER takes the unix socket of a CHAIN, the pid file and the log; MODULE is the path of the stream module, if it is one."""
    socket = f"unix:{folder}/hop.sock"
    text = f"""{f"load_module {module};" if module else ""}
worker_processes {workers};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 19500; }}
stream {{
  proxy_timeout 1h;
  server {{ listen 127.0.0.1:{port} backlog=4096; proxy_pass {socket if chain else f"127.0.0.1:{backend}"}; }}
"""
    if chain:
        text += f"  server {{ listen {socket} backlog=4096; proxy_pass 127.0.0.1:{backend}; }}\n"
    return text + "}\n"
