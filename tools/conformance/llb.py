"""A build's LLB as BuildKit's provenance (mode=max) and its progress (rawjson) tell it, as lines of text.

    llb.py ARCHIVE PROGRESS BASES SERVER      writes the record of a build to standard output
    llb.py --bases BASES                      writes the configs of the base images, which a frontend has to be told

ARCHIVE is the OCI archive with its attestations, BASES the folder of base images, SERVER the address of the case's web
server. Provenance has the operations as JSON; they are encoded again here, and their digests checked against those
that BuildKit lists. What is another in every build is replaced, and digests computed anew: sessions are left out,
stores of layouts and digests of base images become the names of the contexts, SERVER becomes server.example.
"""
import base64, hashlib, json, os, sys, tarfile

# Fields by name: number and type; s string, i number, y bytes, o a number that is written even when 0, * repeated.
# Go writes the oneof of Op after all other fields.
SCHEMA = {
    'Op': [('inputs', 1, '*Input'), ('platform', 10, 'Platform'), ('constraints', 11, 'Constraints'),
        ('exec', 2, 'Exec'), ('source', 3, 'Source'), ('file', 4, 'File'), ('merge', 6, 'Merge'),
        ('diff', 7, 'Diff')],
    'Platform': [('Architecture', 1, 's'), ('OS', 2, 's'), ('Variant', 3, 's'), ('OSVersion', 4, 's'),
        ('OSFeatures', 5, '*s')],
    'Input': [('digest', 1, 's'), ('index', 2, 'i')],
    'Constraints': [('filter', 1, '*s')],
    'Exec': [('meta', 1, 'Meta'), ('mounts', 2, '*Mount'), ('network', 3, 'i'), ('security', 4, 'i'),
        ('secretenv', 5, '*SecretEnv'), ('cdiDevices', 6, '*Device')],
    'Meta': [('args', 1, '*s'), ('env', 2, '*s'), ('cwd', 3, 's'), ('user', 4, 's'), ('proxy_env', 5, 'Proxy'),
        ('proxyEnv', 5, 'Proxy'), ('extraHosts', 6, '*Host'), ('hostname', 7, 's'), ('ulimit', 9, '*Ulimit'),
        ('cgroupParent', 10, 's'), ('removeMountStubsRecursive', 11, 'i')],
    'Proxy': [('http_proxy', 1, 's'), ('https_proxy', 2, 's'), ('ftp_proxy', 3, 's'), ('no_proxy', 4, 's'),
        ('all_proxy', 5, 's')],
    'Host': [('Host', 1, 's'), ('IP', 2, 's')],
    'Ulimit': [('Name', 1, 's'), ('Soft', 2, 'i'), ('Hard', 3, 'i')],
    'SecretEnv': [('ID', 1, 's'), ('name', 2, 's'), ('optional', 3, 'i')],
    'Device': [('name', 1, 's'), ('optional', 2, 'i')],
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
    """The bytes of a message that provenance has as JSON."""
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
    if set(value) != seen:
        sys.exit(f'{kind} has fields that are not known here: {set(value) - seen}')
    return out


def digest_of(op, inputs):
    op = {**op, 'inputs': [{'digest': digest, 'index': index} for digest, index in inputs]}
    return 'sha256:' + hashlib.sha256(encode('Op', op)).hexdigest()


def vertices(build, settle):
    """The steps of a provenance's buildConfig, each as its listed digest, its inputs (step and output), its op as `settle`
    makes it of what was built, and the digest that op has."""
    listed = {step: digest for digest, step in build['digestMapping'].items()}
    raw, known, local, found = {}, {}, set(), []
    for step in build['llbDefinition']:
        name, inputs = step['id'], [(i, int(n)) for i, n in (i.split(':') for i in step.get('inputs', []))]
        source = (step['op'].get('Op') or {}).get('source')
        raw[name] = digest_of(step['op'], [(raw[i], n) for i, n in inputs])
        # Provenance leaves out the session of a local source, so that its digest cannot be had.
        if any(i in local for i, _ in inputs) or source and source['identifier'].startswith('local:'):
            local.add(name)
        elif listed[name] != raw[name]:
            sys.exit(f'{name} has digest {listed[name]}, computed {raw[name]}')
        op = settle(step['op'])
        known[name] = digest_of(op, [(known[i], n) for i, n in inputs])
        found.append((listed[name], name, inputs, op, known[name]))
    return found


def blob(layout, digest):
    return json.load(layout.extractfile('blobs/' + digest.replace(':', '/')))


def provenances(archive):
    """Of every image in an OCI archive its platform and the predicate of its provenance."""
    layout = tarfile.open(archive)
    pending, images, attested = [json.load(layout.extractfile('index.json'))], {}, {}
    while pending:
        for entry in pending.pop(0)['manifests']:
            document = blob(layout, entry['digest'])
            if 'manifests' in document:
                pending.append(document)
            elif 'vnd.docker.reference.type' in entry.get('annotations', {}):
                predicate = blob(layout, document['layers'][0]['digest'])['predicate']
                attested[entry['annotations']['vnd.docker.reference.digest']] = predicate
            else:
                config = blob(layout, document['config']['digest'])
                parts = [config.get(k) for k in ('os', 'architecture', 'variant', 'os.version')]
                images[entry['digest']] = '/'.join(p for p in parts if p)
    return {images[digest]: predicate for digest, predicate in attested.items()}


def progress(path):
    """What the progress says of vertices: by digest, name and group."""
    said = {}
    for line in open(path, errors='replace'):
        if line.startswith('{'):
            for vertex in json.loads(line).get('vertexes') or []:
                said[vertex['digest']] = {k: vertex[k] for k in ('name', 'progressGroup') if k in vertex}
    return said


def stand_in(name):
    return 'sha256:' + hashlib.sha256(name.encode()).hexdigest()


def record(archive, progress_file, bases, server):
    digests = {}
    for name in os.listdir(bases):
        if os.path.exists(f'{bases}/{name}/index.json'):
            digests[json.load(open(f'{bases}/{name}/index.json'))['manifests'][0]['digest']] = name

    def anonymous(value):
        return json.loads(json.dumps(value).replace(server, 'server.example'))

    attested, stores = provenances(archive), {}
    for predicate in attested.values():
        for key, value in predicate['invocation']['parameters'].get('args', {}).items():
            if key.startswith('context:') and value.startswith('oci-layout://'):
                stores[value[len('oci-layout://'):].partition('@')[0].rpartition(':')[0]] = key[len('context:'):]

    def settle(op):
        op = anonymous(op)
        source = (op.get('Op') or {}).get('source')
        if source:
            attrs = source.get('attrs', {})
            attrs.pop('oci.session', None)
            identifier, _, digest = source['identifier'].partition('@')
            if 'oci.store' in attrs and digest in digests:
                attrs['oci.store'] = stores[attrs['oci.store']]
                source['identifier'] = identifier + '@' + stand_in(digests[digest])
            elif identifier.startswith('docker-image:'):
                attrs.pop('image.resolvemode', None)          # the Docker engine's own default
        return op

    said, args, entry, platforms = progress(progress_file), {}, '', {}
    for platform, predicate in sorted(attested.items()):
        args = predicate['invocation']['parameters'].get('args', {})
        entry = predicate['invocation']['configSource']['entryPoint']
        lines, numbers = [], {}
        for listed, name, inputs, op, digest in vertices(predicate['buildConfig'], settle):
            about = anonymous(said.get(listed, {}))
            if 'progressGroup' in about:
                del about['progressGroup']['id']
            numbers[name] = len(lines)
            lines.append({'digest': digest, **about, 'inputs': [[numbers[i], n] for i, n in inputs], 'op': op})
        platforms[platform] = lines
    if entry not in ('', 'Dockerfile'):
        args['filename'] = entry
    args = {key: value for key, value in anonymous(args).items() if key not in ('frontend.caps', 'cmdline', 'source', 'dockerfilekey')}
    for key, value in args.items():
        if key.startswith('context:') and value.startswith('oci-layout:'):
            args[key] = 'oci-layout:' + digests[value.partition('@')[2]]
    # The base images are there under their names in every case.
    args = {key: value for key, value in args.items() if not key.startswith('context:') or key[8:] != value[11:]}
    dump = lambda value: json.dumps(value, sort_keys=True, ensure_ascii=False)
    print('{"args": {' + ',\n  '.join(f'{dump(k)}: {dump(v)}' for k, v in sorted(args.items())) + '},')
    print('"platforms": {')
    print(',\n'.join(f'{dump(platform)}: [\n' + ',\n'.join(map(dump, lines)) + ']'
                     for platform, lines in platforms.items()))
    print('}}')


def base_configs(bases):
    """The base images' configs by name, in the order of their indexes."""
    known = {}
    for name in sorted(os.listdir(bases)):
        if not os.path.exists(f'{bases}/{name}/index.json'):
            continue
        get = lambda digest: json.load(open(f'{bases}/{name}/blobs/' + digest.replace(':', '/')))
        index = get(json.load(open(f'{bases}/{name}/index.json'))['manifests'][0]['digest'])
        configs = [get(get(entry['digest'])['config']['digest']) for entry in index['manifests']]
        known[name] = [{k: v for k, v in config.items() if k not in ('created', 'rootfs', 'history')}
                       for config in configs]
    lines = [f'{json.dumps(name)}: [\n' + ',\n'.join(json.dumps(c, sort_keys=True) for c in configs) + ']'
             for name, configs in known.items()]
    print('{\n' + ',\n'.join(lines) + '\n}')


if __name__ == '__main__':
    if sys.argv[1] == '--bases':
        base_configs(sys.argv[2])
    else:
        record(*sys.argv[1:])
