#!/usr/bin/env python3
"""Records what a real BuildKit makes of the Dockerfiles in tests/buildkit.

    record-buildkit.py DIRECTORY SEEN 'DOCKER BUILDX COMMAND…' CASE [ARG=VALUE…]

DIRECTORY is one that docker sees as SEEN, with a context ctx (a.txt, dir/sub/f); a registry at 127.0.0.1:5000
has base:1 and base:onbuild. Vertices are taken from the provenance (mode=max). Digests of vertices that do not depend on
a local source are checked against those that BuildKit lists; the others are computed without the session's attributes,
which no two builds share.
"""
import json, os, shutil, subprocess, sys, tarfile, urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + '/../../../../tools/conformance')

import llb


def without_defaults(op):
    """The op without what the Docker engine adds of its own."""
    source = (op.get('Op') or {}).get('source')
    if source:
        source.get('attrs', {}).pop('image.resolvemode', None)
    return op


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
        json.dump({'args': args, 'images': images, 'vertices': sorted(vertex[-1] for vertex in llb.vertices(build, without_defaults)), 'config': image['config'],
                   'history': [[h.get('created_by', ''), h.get('empty_layer', False)] for h in image['history']]},
                  out, indent=1)
        out.write('\n')


main(*sys.argv[1:])
