@echo off
rem Install imago on this PC from the USB stick. Double click; no internet, no administrator needed.
rem ASCII only: what else there is to say comes from install.py, in the user's language.
setlocal
set "STICK=%~dp0"
set "PYTHON="
py -@PYTHON@ -c "pass" >nul 2>nul && set "PYTHON=py -@PYTHON@"
if not defined PYTHON python -c "import sys; sys.exit(sys.version_info[:2] != (@MAJOR@, @MINOR@))" >nul 2>nul && set "PYTHON=python"
if defined PYTHON goto install
set "SETUP="
for %%f in ("%STICK%python\*.exe") do set "SETUP=%%~ff"
if not defined SETUP goto missing
echo Installing Python @PYTHON@ for this user ...
"%SETUP%" /passive InstallAllUsers=0 Include_launcher=1 InstallLauncherAllUsers=0 PrependPath=0 Include_test=0
py -@PYTHON@ -c "pass" >nul 2>nul && set "PYTHON=py -@PYTHON@"
if not defined PYTHON if exist "%LOCALAPPDATA%\Programs\Python\Python@NODOT@\python.exe" goto fixed
if not defined PYTHON goto missing
:install
%PYTHON% -X utf8 "%STICK%install.py" %*
goto ended
:fixed
"%LOCALAPPDATA%\Programs\Python\Python@NODOT@\python.exe" -X utf8 "%STICK%install.py" %*
:ended
set "CODE=%ERRORLEVEL%"
pause
exit /b %CODE%
:missing
echo Python @PYTHON@ (64 bit) is not on this PC. Install it from python.org, then double click again.
echo A teacher can put its installer on the stick: imago classroom kit --python-installer FILE
pause
exit /b 2
