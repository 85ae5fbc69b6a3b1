#!/usr/bin/env python3
"""Records what a real BuildKit makes of the Dockerfiles in tests/buildkit.

    record-buildkit.py DIRECTORY SEEN 'DOCKER BUILDX COMMAND…' CASE [ARG=VALUE…]

DIRECTORY is one that docker sees as SEEN, with a context ctx (a.txt, dir/sub/f); a registry at 127.0.0.1:5000
has base:1 and base:onbuild. Vertices are taken from the provenance (mode=max). Digests of vertices that do not depend on
a local source are checked against those that BuildKit lists; the others are computed without the session's attributes,
which no two builds share.
"""
import base64, hashlib, json, os, shutil, subprocess, sys, tarfile, urllib.request

# Fields by name: number and type; s string, i number, y bytes, o a number that is written even when 0, * repeated.
# Go writes the oneof of Op after all other fields.
SCHEMA = {
    'Op': [('inputs', 1, '*Input'), ('platform', 10, 'Platform'), ('constraints', 11, 'Constraints'),
        ('exec', 2, 'Exec'), ('source', 3, 'Source'), ('file', 4, 'File'), ('merge', 6, 'Merge'),
        ('diff', 7, 'Diff')],
    'Platform': [('Architecture', 1, 's'), ('OS', 2, 's'), ('Variant', 3, 's'), ('OSVersion', 4, 's')],
    'Input': [('digest', 1, 's'), ('index', 2, 'i')],
    'Constraints': [('filter', 1, '*s')],
    'Exec': [('meta', 1, 'Meta'), ('mounts', 2, '*Mount'), ('network', 3, 'i'), ('security', 4, 'i'),
        ('secretenv', 5, '*SecretEnv')],
    'Meta': [('args', 1, '*s'), ('env', 2, '*s'), ('cwd', 3, 's'), ('user', 4, 's'), ('proxy_env', 5, 'Proxy'),
        ('proxyEnv', 5, 'Proxy'), ('extraHosts', 6, '*Host'), ('hostname', 7, 's'), ('ulimit', 9, '*Ulimit'),
        ('cgroupParent', 10, 's'), ('removeMountStubsRecursive', 11, 'i')],
    'Proxy': [('http_proxy', 1, 's'), ('https_proxy', 2, 's'), ('ftp_proxy', 3, 's'), ('no_proxy', 4, 's'),
        ('all_proxy', 5, 's')],
    'Host': [('Host', 1, 's'), ('IP', 2, 's')],
    'Ulimit': [('Name', 1, 's'), ('Soft', 2, 'i'), ('Hard', 3, 'i')],
    'SecretEnv': [('ID', 1, 's'), ('name', 2, 's'), ('optional', 3, 'i')],
    'Mount': [('input', 1, 'i'), ('selector', 2, 's'), ('dest', 3, 's'), ('output', 4, 'i'), ('readonly', 5, 'i'),
        ('mountType', 6, 'i'), ('TmpfsOpt', 19, 'Tmpfs'), ('cacheOpt', 20, 'Cache'), ('secretOpt', 21, 'Secret'),
        ('SSHOpt', 22, 'Secret'), ('contentCache', 24, 'i')],
    'Tmpfs': [('size', 1, 'i')],
    'Cache': [('ID', 1, 's'), ('sharing', 2, 'i')],
    'Secret': [('ID', 1, 's'), ('uid', 2, 'i'), ('gid', 3, 'i'), ('mode', 4, 'i'), ('optional', 5, 'i')],
    'Source': [('identifier', 1, 's'), ('attrs', 2, 'map')],
    'File': [('actions', 2, '*Action')],
    'Action': [('input', 1, 'i'), ('secondaryInput', 2, 'i'), ('output', 3, 'i'), ('copy', 4, 'Copy'),
        ('mkfile', 5, 'Mkfile'), ('mkdir', 6, 'Mkdir'), ('rm', 7, 'Rm')],
    'Copy': [('src', 1, 's'), ('dest', 2, 's'), ('owner', 3, 'Chown'), ('mode', 4, 'i'),
        ('followSymlink', 5, 'i'), ('dirCopyContents', 6, 'i'), ('attemptUnpackDockerCompatibility', 7, 'i'),
        ('createDestPath', 8, 'i'), ('allowWildcard', 9, 'i'), ('allowEmptyWildcard', 10, 'i'),
        ('timestamp', 11, 'i'), ('includePatterns', 12, '*s'), ('include_patterns', 12, '*s'),
        ('excludePatterns', 13, '*s'), ('exclude_patterns', 13, '*s'), ('modeStr', 15, 's'),
        ('required_paths', 16, '*s')],
    'Mkfile': [('path', 1, 's'), ('mode', 2, 'i'), ('data', 3, 'y'), ('owner', 4, 'Chown'), ('timestamp', 5, 'i')],
    'Mkdir': [('path', 1, 's'), ('mode', 2, 'i'), ('makeParents', 3, 'i'), ('owner', 4, 'Chown'),
        ('timestamp', 5, 'i')],
    'Rm': [('path', 1, 's')],
    'Chown': [('user', 1, 'User'), ('group', 2, 'User')],
    'User': [('byName', 1, 'Named'), ('byId', 2, 'o')],
    'Named': [('name', 1, 's'), ('input', 2, 'i')],
    'Merge': [('inputs', 1, '*Ref')],
    'Diff': [('lower', 1, 'Ref'), ('upper', 2, 'Ref')],
    'Ref': [('input', 1, 'i')],
}


def varint(n):
    n &= (1 << 64) - 1
    out = b''
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(n, data):
    return varint(n << 3 | 2) + varint(len(data)) + data


def encode(kind, value):
    value = dict(value or {})
    for wrapper in ('Op', 'Action', 'User'):
        if isinstance(value.get(wrapper), dict):
            value.update(value.pop(wrapper))
    if kind == 'User' and not value:
        value = {'byId': 0}                                   # JSON leaves out a zero
    out, seen = b'', set()
    for name, n, of in SCHEMA[kind]:
        if name not in value:
            continue
        seen.add(name)
        x = value[name]
        if of == 'map':
            for key in sorted(x):
                out += field(n, field(1, key.encode()) + field(2, x[key].encode()))
        elif of[0] == '*':
            for item in x:
                out += field(n, item.encode() if of == '*s' else encode(of[1:], item))
        elif of == 's':
            out += field(n, x.encode()) if x else b''
        elif of == 'y':
            out += field(n, base64.b64decode(x)) if x else b''
        elif of in 'io':
            out += varint(n << 3) + varint(int(x)) if x or of == 'o' else b''
        else:
            out += field(n, encode(of, x))
    assert set(value) == seen, (kind, set(value) - seen)
    return out


def digests(config):
    listed = {step: digest for digest, step in config['digestMapping'].items()}
    raw, known, local = {}, {}, set()
    for step in config['llbDefinition']:
        name, inputs = step['id'], [i.split(':') for i in step.get('inputs', [])]
        source = (step['op'].get('Op') or {}).get('source')

        def digest(of, strip):
            op = json.loads(json.dumps(step['op']))
            op['inputs'] = [{'digest': of[i], 'index': int(n)} for i, n in inputs]
            if strip and source:                              # the Docker engine's own default
                op['Op']['source'].get('attrs', {}).pop('image.resolvemode', None)
            return 'sha256:' + hashlib.sha256(encode('Op', op)).hexdigest()

        raw[name], known[name] = digest(raw, False), digest(known, True)
        if any(i in local for i, _ in inputs) or source and source['identifier'].startswith('local:'):
            local.add(name)
        elif listed[name] != raw[name]:
            sys.exit(f'{name} has digest {listed[name]}, computed {raw[name]}')
    return sorted(known.values())


def main(share, seen, docker, case, *args):
    args = dict(arg.split('=', 1) for arg in args)
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'buildkit', case)
    shutil.copy(here + '/Dockerfile', share + '/ctx/Dockerfile')
    flags = [f for key, value in args.items() for f in ('--build-arg', f'{key}={value}')]
    subprocess.run(docker.split() + ['build', '--provenance=mode=max', '-o', f'type=oci,dest={seen}/out.tar', *flags,
                                     seen + '/ctx'], check=True)
    layout = tarfile.open(share + '/out.tar')
    blob = lambda digest: json.load(layout.extractfile('blobs/' + digest.replace(':', '/')))
    for entry in blob(json.load(layout.extractfile('index.json'))['manifests'][0]['digest'])['manifests']:
        manifest = blob(entry['digest'])
        if 'vnd.docker.reference.type' in entry.get('annotations', {}):
            build = blob(manifest['layers'][0]['digest'])['predicate']['buildConfig']
        else:
            image = blob(manifest['config']['digest'])
    images = {}
    for step in build['llbDefinition']:
        name = (step['op'].get('Op', {}).get('source') or {}).get('identifier', '')
        if name.startswith('docker-image://'):
            reference, digest = name.removeprefix('docker-image://').split('@')
            host, repository = reference.rsplit(':', 1)[0].split('/', 1)
            get = lambda path: json.load(urllib.request.urlopen(urllib.request.Request(
                f'http://{host}/v2/{repository}/{path}', headers={'Accept': ', '.join(
                    f'application/vnd.oci.image.{kind}.v1+json' for kind in ('index', 'manifest'))})))
            manifest = get('manifests/' + digest)
            if 'manifests' in manifest:
                manifest = get('manifests/' + manifest['manifests'][0]['digest'])
            images[reference] = {'digest': digest, 'config': get('blobs/' + manifest['config']['digest'])}
    with open(here + '/recorded.json', 'w') as out:
        json.dump({'args': args, 'images': images, 'vertices': digests(build), 'config': image['config'],
                   'history': [[h.get('created_by', ''), h.get('empty_layer', False)] for h in image['history']]},
                  out, indent=1)
        out.write('\n')


main(*sys.argv[1:])
