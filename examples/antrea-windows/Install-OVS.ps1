# Stands for Antrea's hack/windows/Install-OVS.ps1.
Write-Output "Open vSwitch would be installed from $PSScriptRoot"
